"""Predicted peak memory beside the measured one: each setting in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from typing import Any, Final

import torch

from hired_core.backends.base import GIB
from lab.benchmark.contestants.subject import Setting, Subject
from lab.benchmark.measurements.peak import reset_peak, resident_bytes


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A token budget under a memory limit."""

    budget: float
    limit_gib: float
    dtype: str


def limits(dtype: str) -> tuple[Limit, ...]:
    """Six settings for the 44m model: from a few dense slots to as many as there may be."""
    return (
        Limit(budget=1.0, limit_gib=1.5, dtype=dtype),
        Limit(budget=1.0, limit_gib=3.0, dtype=dtype),
        Limit(budget=0.4, limit_gib=1.0, dtype=dtype),
        Limit(budget=0.2, limit_gib=0.75, dtype=dtype),
        Limit(budget=0.2, limit_gib=2.0, dtype=dtype),
        Limit(budget=0.1, limit_gib=0.75, dtype="bfloat16"),
    )


MAX_SLOTS: Final = 64


def memory_part(setting: Setting, images: Sequence[bytes]) -> list[dict[str, Any]]:
    """Each of `limits`, with the layout, the measured peak and their ratio."""
    return [_apart(setting, limit, images) for limit in limits(setting.dtype)]


def _apart(setting: Setting, limit: Limit, images: Sequence[bytes]) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    arguments = (theirs, setting, limit, list(images), torch.get_num_threads())
    process = context.Process(target=_measure, args=arguments)
    process.start()
    theirs.close()
    found: dict[str, Any]
    try:
        found = ours.recv()
        process.join()
    except EOFError:  # It died, e.g. for lack of memory.
        process.join()
        found = {"exit_code": process.exitcode}
    return asdict(limit) | found


def _measure(
    result: Connection, setting: Setting, limit: Limit, images: list[bytes], threads: int
) -> None:
    """Fills every slot once, with whatever images there are, over and over."""
    from lab.benchmark.contestants.captioner import Captioner

    torch.set_num_threads(threads)
    subject = Subject(replace(setting, dtype=limit.dtype))
    subject.limit_bytes = int(limit.limit_gib * GIB)
    captioner = Captioner(subject, budget=limit.budget, max_slots=MAX_SLOTS)
    before = _in_use(subject)
    captioner.open()
    _restart(subject)
    slots = captioner.slots
    captioner((images * (slots // len(images) + 1))[:slots])
    peak = _peak(subject) - before
    layout = captioner.layout
    result.send(
        {
            "slots": slots,
            "predicted_bytes": layout.total_bytes,
            "peak_bytes": peak,
            "limit_bytes": layout.limit_bytes,
            "ratio": peak / layout.total_bytes,
        }
    )


def _in_use(subject: Subject) -> int:
    """What the process takes before there is a model; nothing is on a GPU yet."""
    if subject.device.type == "cuda":
        return 0
    torch.ones(64, 64) @ torch.ones(64, 64)  # The thread pool.
    return resident_bytes("VmRSS")


def _restart(subject: Subject) -> None:
    if subject.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        reset_peak()


def _peak(subject: Subject) -> int:
    if subject.device.type == "cuda":
        return torch.cuda.max_memory_allocated()
    return resident_bytes("VmHWM")
