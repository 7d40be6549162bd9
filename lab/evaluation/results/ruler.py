"""The work behind a run's answers, from what each answer says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from hired_core.models.registry import family_of
from hired_core.vlm.device import compute_dtype
from hired_core.vlm.settings import ReductionSettings
from lab.evaluation.options import Settings
from lab.evaluation.results.answers import Answer, mean
from lab.evaluation.results.work import Work, work_of
from lab.evaluation.store import AskedImage
from lab.evaluation.where import default_device
from pipeline.job.resolve import load_spec

__all__ = ["Ruler"]


class Ruler:
    """Measures runs of one model; counts the words of each question once."""

    def __init__(self, settings: Settings) -> None:
        self._spec = load_spec(settings.model)
        template = family_of(self._spec).load_prompt_template(self._spec)
        dtype = compute_dtype(settings.model.dtype, self._spec.stored_dtype, default_device())
        self._value_bytes = dtype.itemsize

        @cache
        def num_words(prompt: str) -> int:
            return sum(map(len, template.token_ids(prompt, from_data=True)))

        self._num_words = num_words

    def work(
        self,
        settings: ReductionSettings,
        asked: Sequence[AskedImage],
        answers: Mapping[str, Answer],
    ) -> dict[str, Any]:
        """Means over answered questions; None where there are none."""
        found = [
            self._of(settings, question.text, answers[row_id])
            for image in asked
            for question, row_id in zip(image.questions, image.row_ids, strict=True)
            if answers[row_id].text is not None
        ]
        return {
            "visual_tokens_seen": mean([each.tokens for each in found]),
            "kv_bytes_per_image": mean([each.kv_bytes for each in found]),
            "kv_value_bytes": self._value_bytes,
        }

    def _of(self, settings: ReductionSettings, prompt: str, answer: Answer) -> Work:
        kept, dense, length = (
            answer.visual_tokens_kept,
            answer.visual_tokens_dense,
            answer.prompt_tokens,
        )
        assert kept is not None and dense is not None and length is not None, "it was answered"
        return work_of(
            settings,
            self._spec,
            positions=length - self._num_words(prompt),
            kept=kept,
            dense=dense,
            value_bytes=self._value_bytes,
        )
