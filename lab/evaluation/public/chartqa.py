"""ChartQA: questions about charts, asked by people or made from captions by a machine.

The schema is that of `lmms-lab/ChartQA`, and with other names of columns that of
`HuggingFaceM4/ChartQA`; it was not tried on the real files. There are no image ids: images are told
apart by their bytes.
"""

from __future__ import annotations

from lab.evaluation.public.benchmark import Benchmark
from lab.evaluation.public.cells import SHORT_ANSWER, answers_in, image_digest, text_in

__all__ = ["CHARTQA"]

CHARTQA = Benchmark(
    name="chartqa",
    description="questions about charts (relaxed accuracy, 5 %)",
    columns=("image", "question", "answer"),
    details=("type",),
    aliases={"query": "question", "label": "answer", "human_or_machine": "type"},
    image_id=image_digest,
    prompt=lambda row: text_in(row, "question") + SHORT_ANSWER,
    answers=lambda row: answers_in(row, "answer"),
)
