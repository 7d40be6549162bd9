"""What every backend is: it generates for requests, and says what it has room for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from hired_core.language.model import Completion, Request

NOT_A_NUMBER: Final = "the model's output is not a number"
"""Of the error that a request ends with when its logits are NaN or infinite, at any step."""


class UnsupportedDecoderError(ValueError):
    """A decoder that the slot engine cannot run; the `reference` backend can."""


class UnsupportedScheduleError(ValueError):
    """A backend that cannot drop rows between decoder layers was given a `KeepSchedule`."""


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


class Backend(Protocol):
    """Generates for requests of any mix of lengths; the result does not depend on the mix."""

    @property
    def capacity(self) -> Capacity:
        """What it has room for, known before the first request."""
        ...

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion per request, in order."""
        ...
