"""Runs steps one after the other until the deadline; what is known is on disk after each."""

from __future__ import annotations

import gc
import json
import os
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from lab.device_check.bench import Bench, Skipped

PASSED: Final = "passed"
FAILED: Final = "failed"
SKIPPED: Final = "skipped"


@dataclass(frozen=True, kw_only=True)
class Step:
    """A question to the device.

    Attributes:
        needs_sec: left before the deadline, or it is not begun; reckoned for an H100, a fair part
            of it loading and warming up.
    """

    name: str
    work: Callable[[Bench], dict[str, Any]]
    needs_sec: float


class Runner:
    """Never stops at a step that fails; after each, the report is written whole.

    Args:
        clock: in seconds; the deadline is measured on it from when the runner is made.
    """

    def __init__(
        self,
        bench: Bench,
        output: Path,
        *,
        deadline_sec: float,
        log: Callable[[str], None] = lambda line: print(line, flush=True),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bench, self._output, self._log, self._clock = bench, output, log, clock
        self._ends = clock() + deadline_sec
        self.report: dict[str, Any] = {"deadline_sec": deadline_sec, "steps": {}}

    def run(self, steps: Sequence[Step]) -> dict[str, Any]:
        """The report: of each step its status, seconds, figures, and what went wrong."""
        for step in steps:
            begun = self._clock()
            entry = self._step(step, self._ends - begun)
            entry["sec"] = round(self._clock() - begun, 2)
            self.report["steps"][step.name] = entry
            self._write()
            self._log(_line(step.name, entry))
        return self.report

    @property
    def failed(self) -> list[str]:
        steps = self.report["steps"]
        return [name for name, entry in steps.items() if entry["status"] == FAILED]

    def _step(self, step: Step, left_sec: float) -> dict[str, Any]:
        if left_sec < step.needs_sec:
            why = f"{left_sec:.0f} s are left, about {step.needs_sec:.0f} needed"
            return {"status": SKIPPED, "why": why}
        entry = self._attempt(step)
        # Only now that no traceback holds them are the tensors of a step that failed free.
        gc.collect()
        if self._bench.on_gpu:
            _try_empty_cache()
        return entry

    def _attempt(self, step: Step) -> dict[str, Any]:
        try:
            found = step.work(self._bench)
        except Skipped as exc:
            return {"status": SKIPPED, "why": str(exc)}
        except Exception as exc:  # Whatever it is: the steps behind it have their say.
            last = "".join(traceback.format_exception(exc)[-6:])
            return {"status": FAILED, "why": f"{type(exc).__name__}: {exc}", "traceback": last}
        self._bench.found[step.name] = found
        wrong = [name for name, holds in found.get("checks", {}).items() if not holds]
        if wrong:
            return {"status": FAILED, "why": f"does not hold: {', '.join(wrong)}"} | found
        return {"status": PASSED} | found

    def _write(self) -> None:
        self._output.parent.mkdir(parents=True, exist_ok=True)
        aside = self._output.with_name(self._output.name + ".part")
        aside.write_text(json.dumps(self.report, indent=1, default=str) + "\n", encoding="utf-8")
        os.replace(aside, self._output)


def _line(name: str, entry: dict[str, Any]) -> str:
    said = entry.get("why") or entry.get("summary", "")
    return f"{entry['status']:8}{name:22}{entry['sec']:7.1f} s  {said}"


def _try_empty_cache() -> None:
    try:
        torch.cuda.empty_cache()
    except torch.AcceleratorError:  # The device is lost; later steps say so themselves.
        return
