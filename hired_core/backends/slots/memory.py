"""What a model takes in memory, by arithmetic, and how many slots a limit leaves room for.

A fixed token budget fixes the longest sequence; the sequence fixes a slot, and the limit the number
of slots. Everything the engine allocates is counted: weights once, cells once, and the workspace of
the widest moment. What the process takes before there is a model (interpreter, libraries, CUDA
context) is not.

On CPUs the peak is of resident memory, so that more counts: features of the requests under way and
a batch of partitions, as bytes and as an array, live there too, libraries touch pages of their own
on first use, and the C library keeps much of what is freed; by how much was measured (results/).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Final

from hired_core.geometry.spec import ModelSpec
from hired_core.vision.tower import ACCELERATOR_MICRO_BATCH, CPU_MICRO_BATCH

PREFILL_CHUNK: Final = 1024
"""Tokens of a prompt that go through the layers at once."""

CPU_LIBRARIES: Final = 56 * 1024**2
CPU_PREFILL_KEPT: Final = 2.0
CPU_ENCODE_KEPT: Final = 1.25
"""Resident on a CPU, over what is in use at the widest moment of prefill and of encoding."""

CPU_HEADROOM: Final = 0.98
"""Of the limit that the prediction may fill: it is off by as much."""

GIB: Final = 1024**3


class MemoryLimitError(ValueError):
    """The limit leaves no room for a single slot."""


@dataclass(frozen=True, kw_only=True)
class SlotLayout:
    """How many requests run at once, in how much memory.

    Attributes:
        num_slots: S.
        max_length: L, positions of a slot: prompt, visual tokens, new tokens.
        chunk: see `PREFILL_CHUNK`.
        weight_bytes: of all weights that share the limit.
        slot_bytes: key-value cells of one slot.
        workspace_bytes: of the widest moment of prefill, decode and what else shares the device,
            and what a CPU's memory holds beside.
        limit_bytes: what all of it may take.
        rotary_length: rotary positions a token may have: L, or more if they have gaps.
    """

    num_slots: int
    max_length: int
    chunk: int
    weight_bytes: int
    slot_bytes: int
    workspace_bytes: int
    limit_bytes: int
    rotary_length: int

    @property
    def kv_bytes(self) -> int:
        return self.num_slots * self.slot_bytes

    @property
    def total_bytes(self) -> int:
        """The predicted peak."""
        return self.weight_bytes + self.kv_bytes + self.workspace_bytes

    def describe(self) -> str:
        """One line for people."""
        return (
            f"{self.total_bytes / GIB:.2f} of {self.limit_bytes / GIB:.2f} GiB: weights "
            f"{self.weight_bytes / GIB:.2f}, {self.num_slots} slots of {self.max_length:,} "
            f"positions {self.kv_bytes / GIB:.2f}, workspace {self.workspace_bytes / GIB:.2f}"
        )


def lay_out_slots(
    spec: ModelSpec,
    *,
    max_length: int,
    value_bytes: int,
    weight_bytes: int,
    limit_bytes: int,
    max_slots: int,
    on_gpu: bool,
    images: int = 0,
    chunk: int = PREFILL_CHUNK,
    rotary_length: int | None = None,
) -> SlotLayout:
    """As many slots as the limit has room for, `max_slots` at most.

    Args:
        value_bytes: of one number of weights, cells and activations.
        weight_bytes: of all weights that share the limit.
        images: in a batch of the vision stage, if it shares the device; it never runs while the
            engine does.
        rotary_length: see `SlotLayout`; by default `max_length`.

    Raises:
        MemoryLimitError: if there is room for none; tells the numbers and what would help.
    """
    slot_bytes = value_bytes * spec.kv_values_per_token * max_length

    def sized(num_slots: int) -> SlotLayout:
        own = generate_bytes(
            spec,
            max_length=max_length,
            value_bytes=value_bytes,
            chunk=chunk,
            num_slots=num_slots,
        )
        encode = encode_bytes(spec, num_images=images, value_bytes=value_bytes, on_gpu=on_gpu)
        workspace = max(own, encode)
        if not on_gpu:
            features = num_slots * max_length * spec.vision_width * value_bytes
            kept = max(CPU_PREFILL_KEPT * own, CPU_ENCODE_KEPT * encode)
            partitions = 2 * images * spec.max_partitions * 3 * spec.partition_size**2
            workspace = int(kept) + features + partitions + CPU_LIBRARIES
        return SlotLayout(
            num_slots=num_slots,
            max_length=max_length,
            chunk=chunk,
            weight_bytes=weight_bytes,
            slot_bytes=slot_bytes,
            workspace_bytes=workspace,
            limit_bytes=limit_bytes,
            rotary_length=rotary_length or max_length,
        )

    usable = limit_bytes if on_gpu else int(CPU_HEADROOM * limit_bytes)
    room = (usable - weight_bytes) // slot_bytes
    for num_slots in range(min(room, max_slots), 0, -1):
        if sized(num_slots).total_bytes <= usable:
            return sized(num_slots)
    least = sized(1)
    raise MemoryLimitError(
        f"{least.total_bytes / GIB:.2f} GiB are needed for one slot (weights "
        f"{weight_bytes / GIB:.2f}, {max_length:,} positions {slot_bytes / GIB:.2f}, workspace "
        f"{least.workspace_bytes / GIB:.2f}), the limit is {limit_bytes / GIB:.2f}; "
        "raise it, or lower the token budget or the number of new tokens"
    )


def encode_bytes(spec: ModelSpec, *, num_images: int, value_bytes: int, on_gpu: bool) -> int:
    """Of the vision stage while it encodes a batch of images of the largest grid."""
    if not num_images:
        return 0
    patches = ACCELERATOR_MICRO_BATCH if on_gpu else CPU_MICRO_BATCH
    most = num_images * spec.max_partitions
    at_once = min(max(patches // spec.num_patches, spec.max_partitions), most)
    pixels = at_once * 3 * spec.partition_size**2
    width = spec.vision_width
    row = max(8 * width, 5 * width + spec.vision_inner)
    layer = at_once * (spec.num_patches + 1) * row * value_bytes
    kept = num_images * spec.nominal_tokens * width * value_bytes
    return pixels + max(2 * 4 * pixels, layer) + kept


def generate_bytes(
    spec: ModelSpec, *, max_length: int, value_bytes: int, chunk: int, num_slots: int
) -> int:
    """Of the widest moment of prefill or decode, beside weights and cells."""
    return max(
        _prefill_values(spec, max_length, min(chunk, max_length)) * value_bytes,
        _decode_bytes(spec, max_length, num_slots, value_bytes),
    )


def _prefill_values(spec: ModelSpec, max_length: int, chunk: int) -> int:
    """Numbers alive at once: the prompt's embeddings, and for a chunk either attention or MLP."""
    width, inner = spec.text_width, spec.text_inner
    heads, shared = spec.query_width, spec.kv_width
    prompt = 2 * max_length * width
    attention = chunk * (2 * width + 4 * heads + 4 * shared)
    mask = chunk * max_length if chunk < max_length else 0
    mlp = chunk * (2 * width + 2 * inner)
    return prompt + max(attention + mask, mlp)


def _decode_bytes(spec: ModelSpec, max_length: int, num_slots: int, value_bytes: int) -> int:
    """A step over all slots: activations, logits in float32 and the mask."""
    row = 2 * spec.text_width + 2 * spec.text_inner + spec.vocab_size
    return num_slots * (value_bytes * row + 4 * spec.vocab_size + max_length * (1 + value_bytes))


def trim_memory() -> None:
    """Gives back to the system what the C library keeps of freed memory, where it can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
