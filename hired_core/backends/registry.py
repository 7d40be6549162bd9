"""Backends by the names that the command line knows them by."""

from __future__ import annotations

import importlib
from typing import Final

from hired_core.backends.base import Backend, BackendKind, BackendPlan
from hired_core.backends.device_queue import DeviceQueue
from hired_core.choices import BackendName
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import LanguageModel

BACKENDS: Final[dict[BackendName, str]] = {
    "slots": "hired_core.backends.slots_kind",
    "reference": "hired_core.backends.reference_kind",
    "vllm": "hired_core.backends.vllm_kind",
}
"""Name -> module with a `BACKEND`."""

BATCH_SIZE: Final = 8
"""Of a backend that generates in batches."""


def backend_kind(name: BackendName) -> BackendKind:
    """The backend of that name."""
    found: BackendKind = importlib.import_module(BACKENDS[name]).BACKEND
    return found


def make_backend(
    name: BackendName,
    model: LanguageModel,
    settings: GenerationSettings,
    *,
    plan: BackendPlan,
    queue: DeviceQueue | None = None,
    batch_size: int = BATCH_SIZE,
) -> Backend:
    """A backend that takes its turns in `queue`.

    Raises:
        As `BackendKind.make`.
    """
    kind = backend_kind(name)
    return kind.make(model, settings, plan, queue=queue or DeviceQueue(), batch_size=batch_size)
