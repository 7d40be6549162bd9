"""MME: two questions about each image, one to be answered yes and one no.

The schema is that of `lmms-lab/MME`; it was not tried on the real files. `question_id` names the
image: both questions of a pair have the same. The benchmark's own request for a yes or a no gives
way to the usual instruction, as in lmms-eval.
"""

from __future__ import annotations

from lab.evaluation.public.benchmark import Benchmark
from lab.evaluation.public.cells import SHORT_ANSWER, Row, text_in, yes_or_no_in
from lab.evaluation.scoring.mme import MME_CATEGORIES

__all__ = ["MME"]


def _prompt(row: Row) -> str:
    question = text_in(row, "question").strip().replace(" Please answer yes or no.", "")
    return question + SHORT_ANSWER


def _answers(row: Row) -> tuple[str]:
    if row["category"] not in MME_CATEGORIES:
        raise ValueError(f"category is {row['category']!r}, none of {', '.join(MME_CATEGORIES)}")
    return yes_or_no_in(row, "answer")


MME = Benchmark(
    name="mme",
    description="pairs of yes/no questions in 14 categories (MME score)",
    columns=("image", "question_id", "question", "answer", "category"),
    details=("question_id", "category"),
    image_id=lambda row: text_in(row, "question_id"),
    prompt=_prompt,
    answers=_answers,
)
