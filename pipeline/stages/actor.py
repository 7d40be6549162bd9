"""The stages that hold a model, as Ray's actors run them."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any, NoReturn

import pyarrow as pa

from hired_core.backends.base import LOST
from hired_core.backends.device_queue import DeviceQueue
from pipeline.resources.resolved import Resolved
from pipeline.stages.context import StageContext
from pipeline.stages.guard import GuardedStage
from pipeline.stages.shared_lock import SharedLock

__all__ = ["ModelStages", "end_process"]


class ModelStages:
    """One model stage or both in one actor, where features never leave it; each under guard.

    Several batches are on their way at once, so that no slot of the engine waits for one to end;
    what they compute takes turns in one queue.
    """

    def __init__(self, kinds: tuple[type[Any], ...], context: StageContext, resolved: Resolved):
        queue, lock = DeviceQueue(), SharedLock()
        self._stages = [GuardedStage(kind, context, resolved, queue, lock=lock) for kind in kinds]

    def __call__(self, table: pa.Table) -> pa.Table:
        try:
            for stage in self._stages:
                table = stage(table)
        except LOST:
            end_process()
        return table


def end_process() -> NoReturn:
    """After an error that a CUDA context or an engine does not survive: Ray starts the actor anew.

    Only a new process gets a new context, or engine. The rows that were under way become suspects,
    as after any death (see `pipeline.stages.crash_tracker`).
    """
    traceback.print_exc()
    sys.stderr.flush()
    os._exit(1)
