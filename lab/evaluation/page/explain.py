"""A model and any images: what it keeps of them, and what it says, without a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq
from PIL import Image

from hired_core.images.decode import decode_image
from hired_core.language.generation import GenerationSettings
from hired_core.vision.packed import make_encoder
from hired_core.vlm.language_half import RequestBuilder
from hired_core.vlm.settings import ReductionSettings
from lab.evaluation.direct.loaded import LoadedModel, Room
from lab.evaluation.page.examples import Answer, Example, named_run
from lab.evaluation.page.picture import draw_picture
from lab.evaluation.page.render import render_page
from lab.evaluation.page.trace import ImageTrace, Tracer

__all__ = ["Explainer", "read_image"]

_GENERATION: Final = GenerationSettings(max_new_tokens=64)
_ROOM: Final = Room(slots=1)
"""One question at a time."""


class Explainer:
    """Both halves of a model, one image at a time; texts are those of a job with these settings."""

    def __init__(
        self, model: str, *, device: str = "cpu", image_options: Mapping[str, Any] | None = None
    ) -> None:
        self._model = LoadedModel.load(
            model, dtype="float32", device=device, image_options=image_options
        )
        self.tracer = Tracer(make_encoder(self._model.tower), self._model.spec)

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
        return [self._answer(trace, each, prompt) for each in settings]

    def _answer(self, trace: ImageTrace, settings: ReductionSettings, prompt: str) -> str:
        model = self._model
        (kept,) = self.tracer.reduce(trace, settings)
        builder = RequestBuilder(spec=model.spec, template=model.template, settings=settings)
        request = builder.request(builder.visual(kept), prompt)
        backend = model.backend(model.layout(settings, _GENERATION, _ROOM), _GENERATION, _ROOM)
        return backend.generate([request])[0].text


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
