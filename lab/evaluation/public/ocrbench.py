"""OCRBench: text to be read, on signs, in documents, by hand, and in formulas.

The schema is that of `echo840/OCRBench`; it was not tried on the real files. Questions are asked as
they are. There are no image ids: images are told apart by their bytes.
"""

from __future__ import annotations

from lab.evaluation.public.benchmark import Benchmark
from lab.evaluation.public.cells import answers_in, image_digest, text_in

__all__ = ["OCRBENCH"]

OCRBENCH = Benchmark(
    name="ocrbench",
    description="text to be read, in ten kinds of picture (OCRBench score)",
    # The metric goes by `dataset`: handwritten formulas have a rule of their own.
    columns=("image", "question", "answer", "dataset"),
    details=("dataset", "question_type"),
    image_id=image_digest,
    prompt=lambda row: text_in(row, "question").strip(),
    answers=lambda row: answers_in(row, "answer"),
)
