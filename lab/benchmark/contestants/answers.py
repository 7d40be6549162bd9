"""What a contestant gives back: texts, and where their time went."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch


@dataclass(frozen=True, kw_only=True)
class Answer:
    """To one image. The sums over a call's answers are the call's totals.

    Attributes:
        ttft_sec: from the bytes of its batch being taken up to its first token.
        prepare_sec, vision_sec, prefill_sec, decode_sec: its equal share of what its batch took:
            bytes to model inputs, vision tower and selection, up to the first token, all later
            tokens.
    """

    token_ids: list[int]
    text: str
    ttft_sec: float
    prepare_sec: float
    vision_sec: float
    prefill_sec: float
    decode_sec: float


PHASES = ("prepare_sec", "vision_sec", "prefill_sec", "decode_sec")


class Contestant(Protocol):
    """Bytes in, text out. Nothing that depends on the images outlives a call.

    `slots`, how many texts are decoded together, is known once it has been opened.
    """

    slots: int

    def open(self) -> None:
        """Take what is needed beside the weights, e.g. a key-value cache; not timed."""

    def close(self) -> None:
        """Give it back."""

    def __call__(self, images: Sequence[bytes]) -> list[Answer]:
        """One answer per image, in order."""
        ...


def now(device: torch.device) -> float:
    """The clock once the device has done all it was told to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
