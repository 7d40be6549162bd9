"""The public benchmarks that can be read."""

from __future__ import annotations

from typing import Final

from lab.evaluation.public.benchmark import Benchmark
from lab.evaluation.public.chartqa import CHARTQA
from lab.evaluation.public.docvqa import DOCVQA
from lab.evaluation.public.mme import MME
from lab.evaluation.public.ocrbench import OCRBENCH
from lab.evaluation.public.pope import POPE
from lab.evaluation.public.scienceqa import SCIENCEQA
from lab.evaluation.public.textvqa import TEXTVQA
from lab.evaluation.public.vqav2 import VQAV2

__all__ = ["BENCHMARKS"]

BENCHMARKS: Final[dict[str, Benchmark]] = {
    benchmark.name: benchmark
    for benchmark in (TEXTVQA, VQAV2, DOCVQA, CHARTQA, SCIENCEQA, POPE, MME, OCRBENCH)
}
"""By name, which is also the task that `metrics_of` knows."""
