"""`make bench`: transformers and this engine side by side; see --help."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from hired_core.models.checkpoint import CheckpointError
from lab.benchmark.command import run
from lab.benchmark.options import parse


def main() -> int:
    options = parse(None, output=ROOT / "out" / "benchmark.json")
    try:
        print(run(options, samples=ROOT / "samples"))
    except (CheckpointError, ValueError) as exc:
        print(f"benchmark: {exc}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
