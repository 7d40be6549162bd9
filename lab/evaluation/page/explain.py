"""A model and any images: what it keeps of them, and what it says, without a job."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq
import torch
from PIL import Image

from hired_core.backends.reference import ReferenceBackend
from hired_core.images.decode import decode_image
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import Request
from hired_core.models.registry import family_of
from hired_core.vlm.language_half import RequestBuilder
from hired_core.vlm.settings import ReductionSettings
from lab.evaluation.page.examples import Answer, Example, named_run
from lab.evaluation.page.picture import draw_picture
from lab.evaluation.page.render import render_page
from lab.evaluation.page.trace import ImageTrace, Tracer

__all__ = ["Explainer", "read_image"]

_MAX_NEW_TOKENS: Final = 64


class Explainer:
    """Both halves of a model, one image at a time; texts are those of a job with these settings."""

    def __init__(self, model: str, *, device: str = "cpu") -> None:
        self.tracer = Tracer.load(model, device=device)
        spec = self.tracer.spec
        family, dtype = family_of(spec), self.tracer.vision.tower.dtype
        language = family.load_language(spec, device=torch.device(device), dtype=dtype)
        self._template = family.load_prompt_template(spec)
        settings = GenerationSettings(max_new_tokens=_MAX_NEW_TOKENS)
        self._backend = ReferenceBackend(language, settings)

    def page(
        self, images: dict[str, bytes], prompt: str, settings: Sequence[ReductionSettings]
    ) -> str:
        """HTML of these images with the answers to one prompt; no reference, hence no verdicts."""
        examples = [self._example(name, data, prompt, settings) for name, data in images.items()]
        notes = [f"Model: {self.tracer.spec.name}."]
        return render_page(examples, title="Which visual tokens are kept", notes=notes)

    def picture(self, data: bytes, prompt: str, settings: ReductionSettings) -> Image.Image:
        """See `draw_picture`."""
        trace = self.tracer(data, [settings])
        (answer,), (selection,) = self._answers(trace, [settings], prompt), trace.selections
        return draw_picture(decode_image(data), trace, selection, prompt=prompt, answer=answer)

    def _example(
        self, name: str, data: bytes, prompt: str, settings: Sequence[ReductionSettings]
    ) -> Example:
        trace = self.tracer(data, settings)
        answers = []
        for one, said in zip(settings, self._answers(trace, settings, prompt), strict=True):
            method, budget = named_run(one.method, one.token_budget)
            answers.append(Answer(method=method, budget=budget, prediction=said, score=None))
        return Example(
            name=name, task="images", question=prompt, references=(), answers=tuple(answers),
            trace=trace,
        )  # fmt: skip

    def _answers(
        self, trace: ImageTrace, settings: Sequence[ReductionSettings], prompt: str
    ) -> list[str]:
        requests = [self._request(trace, one, prompt) for one in settings]
        return [completion.text for completion in self._backend.generate(requests)]

    def _request(self, trace: ImageTrace, settings: ReductionSettings, prompt: str) -> Request:
        (kept,) = self.tracer.reduce(trace, settings)
        builder = RequestBuilder(spec=self.tracer.spec, template=self._template, settings=settings)
        return builder.request(builder.visual(kept), prompt)


def read_image(name: str) -> bytes:
    """Bytes of an image file, or of a row of a Parquet file: "samples-00.parquet#13".

    Raises:
        ValueError: if there is no such file or row.
    """
    path, _, row = name.partition("#")
    if not Path(path).is_file():
        raise ValueError(f"no file {path!r}")
    if not row:
        return Path(path).read_bytes()
    column = pq.read_table(path, columns=["image"])["image"]
    if not row.isdecimal() or int(row) >= len(column):
        raise ValueError(f"{path} has rows 0 to {len(column) - 1}, not {row!r}")
    data: bytes = column[int(row)].as_py()["bytes"]
    return data
