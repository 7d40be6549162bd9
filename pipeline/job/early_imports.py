"""What the driver imports for a run, begun while Ray starts: both take seconds, and Ray mostly
waits for its processes.

A worker cannot be prepared so: Ray gives the process of a task that has ended to no actor.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

__all__ = ["importing"]

_MODULES: Final = ("torch", "transformers", "pipeline.job.run")


@contextmanager
def importing(model: str | None) -> Iterator[None]:
    """Imports what a run needs, the model's family included, while the caller does something else;
    all is there at the end. None imports nothing.

    The caller has imported ray: modules of two threads that need each other in a circle would find
    halves of one another. Nothing depends on it: what cannot be imported is told where it is
    needed.
    """
    if model is None:
        yield
        return
    thread = threading.Thread(target=_load, args=(_MODULES, model), daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()  # A process that ends in the middle of an import may crash.


def _load(modules: Sequence[str], model: str) -> None:
    """Import these, and the family of a checkpoint that is on this machine."""
    for name in modules:
        with suppress(Exception):
            importlib.import_module(name)
    with suppress(Exception):
        if model == "embedded" or Path(model).is_dir():
            from hired_core.models.registry import family_of, load_spec

            family_of(load_spec(model))
