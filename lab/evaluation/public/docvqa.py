"""DocVQA: questions about scanned pages.

The schema is that of `lmms-lab/DocVQA`, configuration DocVQA, split validation; it was not tried on
the real files. The test split comes without answers.
"""

from __future__ import annotations

from lab.evaluation.public.benchmark import Benchmark
from lab.evaluation.public.cells import SHORT_ANSWER, Row, answers_in, text_in

__all__ = ["DOCVQA"]


def _page(row: Row) -> str:
    return f"{text_in(row, 'ucsf_document_id')}_{text_in(row, 'ucsf_document_page_no')}"


DOCVQA = Benchmark(
    name="docvqa",
    description="questions about scanned pages (ANLS)",
    columns=("image", "ucsf_document_id", "ucsf_document_page_no", "question", "answers"),
    details=("questionId", "question_types"),
    image_id=_page,
    prompt=lambda row: text_in(row, "question") + SHORT_ANSWER,
    answers=lambda row: answers_in(row, "answers"),
)
