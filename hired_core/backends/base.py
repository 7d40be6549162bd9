"""What every backend is: it generates for requests, and says what it has room for.

A backend is a `BackendKind`, which plans and refuses by configuration files alone, and the
`Backend` that it makes where the model's weights are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import torch

from hired_core.backends.device_queue import DeviceQueue
from hired_core.choices import Pairs, WeightFormat
from hired_core.geometry.spec import ModelSpec
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import Completion, LanguageModel, Request
from hired_core.methods.schedule import KeepSchedule

NOT_A_NUMBER: Final = "the model's output is not a number"
"""Of the error that a request ends with when its logits are NaN or infinite, at any step."""


GIB: Final = 1024**3


class UnsupportedError(ValueError):
    """A backend was asked for what it cannot do; the message begins with its name."""


class UnsupportedDecoderError(UnsupportedError):
    """A decoder that the slot engine cannot run; the `reference` backend can."""


class UnsupportedScheduleError(UnsupportedError):
    """A backend that cannot drop rows between decoder layers was given a `KeepSchedule`."""


class MemoryLimitError(ValueError):
    """The limit leaves no room for a single request."""


class EngineLostError(RuntimeError):
    """What generates has ended, or will not start: of this process every later request would fail.

    To a backend with an engine in another process what `torch.AcceleratorError` is to a device.
    """


LOST: Final = (torch.AcceleratorError, EngineLostError)
"""What a process cannot generate after, whatever the row."""


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What a backend has room for.

    Attributes:
        num_slots: requests at once whose memory is set aside; None: nothing is.
        total_bytes: predicted peak of memory, weights included; None: it is not bounded.
        max_length: positions of the longest request: prompt and new tokens.
        rotary_length: rotary positions a token may have.
    """

    num_slots: int | None
    total_bytes: int | None
    max_length: int
    rotary_length: int


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What the requests of a job ask of a backend at the most, and what it may take for them.

    Attributes:
        max_length: L, positions of the longest request: prompt, visual tokens, new tokens.
        rotary_length: up to which its rotary positions come; None: they are 0 to L - 1.
        dtype: of weights, cells and activations.
        vision_bytes: of the vision half's weights, if it shares the memory.
        language_bytes: of the language half's.
        widened_bytes: what reading weights of eight bits takes for a moment.
        words: numbers of projector, separators and the table of words.
        decoder: its `model_type`.
        decoder_bytes: of table, layers and head, as an engine loads them from a `DecoderFolder`.
        stored_as: how the checkpoint's own weights are quantised, e.g. "awq"; None: they are not.
        quantize: the eight bits that the decoder's weights are to be turned to.
        limit_bytes: what all of it may take.
        max_slots: requests at once, at the most.
        on_gpu: whether the limit is one of a GPU's memory.
        images: in a batch of the vision stage, if it shares the memory; 0 if it does not.
        schedule: of rows that are dropped between layers; None: every layer sees all.
        num_visual: visual tokens among the L positions.
        row_width: of what comes out of the vision stage.
        all_features: whether that computes those of all patches, not of the kept alone.
        pairs: whether it compares them with each other, see `Needs`.
        tensor_parallel: GPUs that share the layers.
    """

    spec: ModelSpec
    max_length: int
    rotary_length: int | None
    dtype: torch.dtype
    vision_bytes: int
    language_bytes: int
    widened_bytes: int = 0
    words: int
    decoder: str
    decoder_bytes: int
    stored_as: str | None = None
    quantize: WeightFormat | None = None
    limit_bytes: int
    max_slots: int
    on_gpu: bool
    images: int
    schedule: KeepSchedule | None
    num_visual: int
    row_width: int
    all_features: bool
    pairs: Pairs | None
    tensor_parallel: int = 1

    @property
    def weight_bytes(self) -> int:
        """Of all weights that share the limit."""
        return self.vision_bytes + self.language_bytes


def require_plain_weights(name: str, sizes: Sizes) -> None:
    """Raises `UnsupportedError` for quantised ones, which the layers run here do not read."""
    if sizes.stored_as is not None:
        raise UnsupportedError(
            f"{name} reads no quantised weights, and the checkpoint's are {sizes.stored_as}; "
            "vllm does"
        )


class BackendPlan(Protocol):
    """What a backend will take, known before it is made; small, and pickles."""

    @property
    def capacity(self) -> Capacity: ...

    @property
    def limit_bytes(self) -> int | None:
        """What the plan was made for; None: it bounds nothing."""
        ...

    @property
    def kv_bytes(self) -> int | None:
        """Of the key-value cache, set aside; None: nothing is."""
        ...

    def describe(self) -> str:
        """One line for people."""
        ...


class Backend(Protocol):
    """Generates for requests of any mix of lengths; the result does not depend on the mix."""

    @property
    def capacity(self) -> Capacity:
        """What it has room for, known before the first request."""
        ...

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion per request, in order."""
        ...


class BackendKind(Protocol):
    """A backend by its name; stateless. A room or module of one has it as `BACKEND`.

    Attributes:
        runs_layers: whether it runs the model's layers in the process that makes it. Otherwise it
            is given a model whose decoder is a `DecoderFolder`.
    """

    @property
    def runs_layers(self) -> bool: ...

    def check(self, sizes: Sizes, generation: GenerationSettings) -> None:
        """Raises `UnsupportedError`, one line with its reason, for what it cannot do."""
        ...

    def plan(self, sizes: Sizes, generation: GenerationSettings) -> BackendPlan:
        """What it takes for requests of these sizes.

        Raises:
            MemoryLimitError: if there is room for none; tells the numbers and what would help.
        """
        ...

    def make(
        self,
        model: LanguageModel,
        generation: GenerationSettings,
        plan: Any,
        *,
        queue: DeviceQueue,
        batch_size: int,
    ) -> Backend:
        """The backend, its weights in place.

        Args:
            plan: one that it made.
            queue: in which it takes its turns on the device.
            batch_size: of one that generates in batches.

        Raises:
            UnsupportedDecoderError: if it cannot run this decoder.
            EngineLostError: if its engine does not start.
        """
        ...
