"""`hired device-check`: everything that no machine without a GPU can tell, in eight minutes."""

from __future__ import annotations

import argparse
import faulthandler
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pipeline.rows.errors import EXIT_DONE, EXIT_FAILED

__all__ = ["main", "parser"]

_GRACE_SEC: Final = 60
"""A step that hangs is ended so long after the deadline; what was written before it stays."""


def main(argv: Sequence[str]) -> int:
    """Returns the exit code: 1 if a step failed."""
    options = parser().parse_args(argv)
    # Seconds that help does not wait for.
    import torch

    from lab.device_check.bench import REHEARSAL, Bench, Sizes
    from lab.device_check.plan import plan
    from lab.device_check.runner import Runner

    device = torch.device("cuda" if torch.cuda.is_available() and not options.rehearse else "cpu")
    if device.type == "cpu" and not options.rehearse:
        print("error: no GPU here; --rehearse runs the steps on the CPU, with tiny sizes")
        return EXIT_FAILED
    faulthandler.dump_traceback_later(options.deadline_sec + _GRACE_SEC, exit=True)
    bench = Bench(device=device, sizes=REHEARSAL if options.rehearse else Sizes())
    runner = Runner(bench, options.output, deadline_sec=options.deadline_sec)
    try:
        runner.run([step for step in plan(bench.sizes) if _chosen(step.name, options.steps)])
    finally:
        bench.close()
        faulthandler.cancel_dump_traceback_later()
    failed = runner.failed
    print(f"wrote {options.output}; " + (f"failed: {', '.join(failed)}" if failed else "all good"))
    return EXIT_FAILED if failed else EXIT_DONE


def _chosen(name: str, asked: str) -> bool:
    return not asked or any(part and part in name for part in asked.split(","))


def parser() -> argparse.ArgumentParser:
    """Of the command's options."""
    found = argparse.ArgumentParser(prog="hired device-check", description=__doc__)
    add = found.add_argument
    add("--output", type=Path, default=Path("out/device-check.json"), help="the report, as JSON")
    add("--deadline-sec", type=float, default=450, help="steps that no longer fit are skipped")
    add("--steps", default="", help="comma-separated: only those whose names hold one of these")
    add("--rehearse", action="store_true", help="on the CPU, with tiny sizes")
    return found
