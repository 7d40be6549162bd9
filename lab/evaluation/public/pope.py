"""POPE: is this object in the photograph? Yes and no are right equally often.

The schema is that of `lmms-lab/POPE`; it was not tried on the real files. Every photograph is asked
about in each of the three categories (random, popular, adversarial), which lie apart in the file:
there it is read as three images. Ids of questions start anew in each category.
"""

from __future__ import annotations

from lab.evaluation.public.benchmark import Benchmark
from lab.evaluation.public.cells import SHORT_ANSWER, text_in, yes_or_no_in

__all__ = ["POPE"]

POPE = Benchmark(
    name="pope",
    description="is the object there: yes or no (F1, yes-rate)",
    columns=("image", "image_source", "question", "answer"),
    details=("question_id", "category"),
    image_id=lambda row: text_in(row, "image_source"),
    prompt=lambda row: text_in(row, "question").strip() + SHORT_ANSWER,
    answers=lambda row: yes_or_no_in(row, "answer"),
)
