"""The public benchmarks that can be read."""

from __future__ import annotations

from typing import Final

from pipeline.evaluation.public.benchmark import Benchmark
from pipeline.evaluation.public.chartqa import CHARTQA
from pipeline.evaluation.public.docvqa import DOCVQA
from pipeline.evaluation.public.mme import MME
from pipeline.evaluation.public.ocrbench import OCRBENCH
from pipeline.evaluation.public.pope import POPE
from pipeline.evaluation.public.scienceqa import SCIENCEQA
from pipeline.evaluation.public.textvqa import TEXTVQA
from pipeline.evaluation.public.vqav2 import VQAV2

__all__ = ["BENCHMARKS"]

BENCHMARKS: Final[dict[str, Benchmark]] = {
    benchmark.name: benchmark
    for benchmark in (TEXTVQA, VQAV2, DOCVQA, CHARTQA, SCIENCEQA, POPE, MME, OCRBENCH)
}
"""By name, which is also the task that `metrics_of` knows."""
