"""VQAv2: questions about photographs.

The schema is that of `lmms-lab/VQAv2`, split validation, and of `HuggingFaceM4/VQAv2`; it was not
tried on the real files. The test splits come without answers.
"""

from __future__ import annotations

from lab.evaluation.public.benchmark import Benchmark
from lab.evaluation.public.cells import SHORT_ANSWER, answers_in, text_in

__all__ = ["VQAV2"]

VQAV2 = Benchmark(
    name="vqav2",
    description="questions about photographs, ten answers each (soft VQA accuracy)",
    columns=("image", "image_id", "question", "answers"),
    details=("question_id", "question_type", "answer_type"),
    image_id=lambda row: text_in(row, "image_id"),
    prompt=lambda row: text_in(row, "question") + SHORT_ANSWER,
    answers=lambda row: answers_in(row, "answers"),
)
