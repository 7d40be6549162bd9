"""TextVQA: questions that need the text in a photograph read.

The schema is that of `lmms-lab/textvqa`, split validation; it was not tried on the real files. The
question is asked without the OCR tokens that the benchmark supplies: published figures with them
are some points higher, and are not comparable.
"""

from __future__ import annotations

from lab.evaluation.public.benchmark import Benchmark
from lab.evaluation.public.cells import SHORT_ANSWER, Row, answers_in, text_in

__all__ = ["TEXTVQA"]


def _prompt(row: Row) -> str:
    # Questions are in small letters; lmms-eval asks them with a capital and the rest small.
    return text_in(row, "question").capitalize() + SHORT_ANSWER


TEXTVQA = Benchmark(
    name="textvqa",
    description="questions about text in photographs, ten answers each (soft VQA accuracy)",
    columns=("image", "image_id", "question", "answers"),
    details=("question_id",),
    image_id=lambda row: text_in(row, "image_id"),
    prompt=_prompt,
    answers=lambda row: answers_in(row, "answers"),
)
