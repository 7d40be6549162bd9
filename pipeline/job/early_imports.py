"""What the driver imports for a run, begun while Ray starts: both take seconds, and Ray mostly
waits for its processes.

A worker cannot be prepared so: Ray gives the process of a task that has ended to no actor.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["import_in_background"]

_MODULES: Final = ("torch", "transformers", "pipeline.job.run")


def import_in_background(model: str) -> threading.Thread:
    """Import what a run needs, the model's family included, while the caller does something else.

    The caller has imported ray: modules of two threads that need each other in a circle would find
    halves of one another. Nothing depends on it: what is not there yet is imported where it is
    needed, and errors are told there.
    """
    thread = threading.Thread(target=_load, args=(_MODULES, model), daemon=True)
    thread.start()
    return thread


def _load(modules: Sequence[str], model: str) -> None:
    """Import these, and the family of a checkpoint that is on this machine."""
    for name in modules:
        with suppress(Exception):
            importlib.import_module(name)
    with suppress(Exception):
        if model == "embedded" or Path(model).is_dir():
            from hired_core.models.registry import family_of, load_spec

            family_of(load_spec(model))
