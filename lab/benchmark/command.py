"""`hired benchmark`: transformers and this engine side by side."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lab.benchmark.options import parse
from lab.demo import SAMPLES
from pipeline.rows.errors import EXIT_BAD_CONFIG, EXIT_DONE, ConfigError

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Returns the exit code; errors are one line on stderr."""
    try:
        options = parse(argv)
    except ConfigError as exc:
        return _complain(exc)
    # Seconds that help, and a line about a mistyped flag, do not wait for.
    from hired_core.models.checkpoint import CheckpointError
    from lab.benchmark.run import run

    try:
        print(run(options, samples=SAMPLES))
    except (CheckpointError, ValueError) as exc:
        return _complain(exc)
    return EXIT_DONE


def _complain(exc: Exception) -> int:
    print(f"error: {exc}", file=sys.stderr)
    return EXIT_BAD_CONFIG
