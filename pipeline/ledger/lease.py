"""One run at a time on an output.

The holder's mark lies in the output and is renewed every few seconds. A run that finds the mark of
another takes it over when its process is gone (told at once on the same machine) or when the mark
has stood still for `LEASE_SEC`; one that is still renewed means: refused. No clocks are compared.

An object store without conditional writes cannot rule out that two runs take over in the same
second. So every writer looks at the mark before and after it writes: the run that lost it stops and
takes its last part back.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, TextIO

from pipeline.parts.sink import LEDGER_FOLDER, LOCK
from pipeline.rows.errors import BusyError, StorageError
from pipeline.storage.store import Store

LEASE_SEC: Final = 30.0
RENEW_SEC: Final = 5.0
_LOOK_SEC: Final = 1.0
_SETTLE_SEC: Final = 0.3
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE: Final = "/proc/self/ns/pid"


def new_run_id() -> str:
    """Sortable by time, e.g. 20261120T201500-3f9a2c."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"


@dataclass(frozen=True, kw_only=True)
class Fence:
    """Keeps out writers of a run that has lost its lease, as a fencing token does.

    Small and picklable: every writer carries one, and asks it before and after it writes.
    """

    store: Store
    run_id: str

    def check(self) -> None:
        """Raises `StorageError` when the run does not hold the output any more."""
        mark = self.store.get_json(LOCK)
        if mark is None or mark.get("run_id") != self.run_id:
            raise StorageError("another run has taken over the output; this one stops")


@dataclass
class Lease:
    """Holds an output from `__enter__` to `__exit__`, renewing its mark from a thread.

    Attributes:
        log: where waiting for another run's mark is told.
    """

    store: Store
    run_id: str
    log: TextIO
    lease_sec: float = LEASE_SEC
    renew_sec: float = RENEW_SEC
    _stop: threading.Event = field(default_factory=threading.Event)
    _beat: int = 0

    @property
    def fence(self) -> Fence:
        return Fence(store=self.store, run_id=self.run_id)

    def __enter__(self) -> Lease:
        """Raises `BusyError` if another run is at work there."""
        self._wait_for_others()
        self._write()
        time.sleep(_SETTLE_SEC)
        self.fence.check()  # Of two that come at once, the one that wrote last goes on.
        for name in self.store.half_written(LEDGER_FOLDER, LOCK.rpartition("/")[2]):
            self.store.remove(name)
        self._thread = threading.Thread(target=self._renew, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        with suppress(StorageError):
            self.fence.check()
            self.store.remove(LOCK)

    def _wait_for_others(self) -> None:
        mark = self._look()
        if mark is None or _is_gone(mark):
            return
        who = f"run {mark['run_id']} on {mark['host']}"
        print(f"{who} may be writing to the output; waiting to see", file=self.log, flush=True)
        still = _wait(self._look, mark, self.lease_sec)
        if not still:
            raise BusyError(f"output: {who} is writing to it; try again when it is done")

    def _look(self) -> dict[str, Any] | None:
        mark = self.store.get_json(LOCK)
        if mark is not None and not mark.keys() >= {"run_id", *_this_process()}:
            raise StorageError(
                f"{LOCK} of the output is no mark of a run; if none is at work there, delete it"
            )
        return mark

    def _write(self) -> None:
        self._beat += 1
        self.store.put_json(LOCK, {"run_id": self.run_id, "beat": self._beat} | _this_process())

    def _renew(self) -> None:
        while not self._stop.wait(self.renew_sec):
            # A storage that fails now may be back at the next turn; writers look for themselves.
            with suppress(StorageError):
                self.fence.check()
                self._write()


def _wait(look: Callable[[], dict[str, Any] | None], mark: dict[str, Any], seconds: float) -> bool:
    """Whether the mark stood still, or went, for `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(_LOOK_SEC)
        now = look()
        if now is None or _is_gone(now):
            return True
        if now != mark:
            return False
    return True


def _this_process() -> dict[str, Any]:
    pid = os.getpid()
    return {"host": socket.gethostname(), "boot": _boot(), "pid": pid, "since": _since(pid)}


def _is_gone(mark: dict[str, Any]) -> bool:
    """Whether the process that left the mark ran on this machine and is no more."""
    here = _this_process()
    if (mark["host"], mark["boot"]) != (here["host"], here["boot"]):
        return False
    return bool(_since(mark["pid"]) != mark["since"])


def _boot() -> str:
    """Tells where process ids mean the same: one start of one machine, one namespace of them."""
    with suppress(OSError):
        return f"{_BOOT_ID.read_text().strip()} {os.readlink(_PID_NAMESPACE)}"
    return ""


def _since(pid: int) -> str | None:
    """When a living process began, in the system's own ticks; None if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *rest = stat.rpartition(")")[2].split()
    return None if state in "ZX" else rest[18]
