"""`hired evaluate`: accuracy against budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lab.evaluation.options import EvaluationConfig, parse_evaluation
from pipeline.job.session import exit_code_of

if TYPE_CHECKING:
    from lab.evaluation.benchmarks import Benchmark

__all__ = ["main"]


def main(
    argv: Sequence[str], benchmark_of: Callable[[EvaluationConfig], Benchmark] | None = None
) -> int:
    """Parse, then evaluate or describe; returns the exit code. Errors are one line on stderr.

    Args:
        benchmark_of: gives the questions that the settings ask for, if not those of their name.
    """

    def job() -> int:
        settings = parse_evaluation(argv)
        # Seconds that help, and a line about a mistyped flag, do not wait for.
        from lab.evaluation.benchmarks import choose
        from lab.evaluation.runner import run

        return run(settings, (benchmark_of or choose)(settings.evaluation))

    return exit_code_of(job)
