"""Peak memory of a contestant on a CPU: in a process of its own, over one batch.

Resident memory never falls back within a process, so contestants that share one cannot be told
apart. What loading takes for a moment is not counted; what stays loaded is.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from lab.benchmark.contestants.registry import Entry
from lab.benchmark.contestants.subject import Setting, Subject


def peak_memory(setting: Setting, entry: Entry, images: Sequence[bytes]) -> dict[str, Any]:
    """Resident bytes of a fresh process that runs the contestant over `images` once.

    Returns:
        peak_bytes: the most while it ran; loaded_bytes: weights and libraries before it ran.
        A process that died, e.g. for lack of memory, gives its exit code instead.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    arguments = (theirs, setting, entry, list(images), torch.get_num_threads())
    process = context.Process(target=_measure, args=arguments)
    process.start()
    theirs.close()
    try:
        found: dict[str, Any] = ours.recv()
        process.join()
    except EOFError:
        process.join()
        found = {"exit_code": process.exitcode}
    return found


def _measure(
    result: Connection, setting: Setting, entry: Entry, images: list[bytes], threads: int
) -> None:
    torch.set_num_threads(threads)
    contestant = entry.build(Subject(setting))
    contestant.open()
    loaded = resident_bytes("VmRSS")
    reset_peak()
    contestant(images)
    result.send({"peak_bytes": resident_bytes("VmHWM"), "loaded_bytes": loaded})


def reset_peak() -> None:
    """Lets VmHWM begin anew from what is resident now, where the kernel permits it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def resident_bytes(field: str) -> int:
    """VmRSS or VmHWM of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise OSError(f"/proc/self/status has no {field}")
