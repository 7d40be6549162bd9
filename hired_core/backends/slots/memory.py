"""What a model takes in memory, by arithmetic, and how many slots a limit leaves room for.

A fixed token budget fixes the longest sequence; the sequence fixes a slot, and the limit the number
of slots. Everything the engine allocates is counted: weights once, cells once, and the workspace of
the widest moment. What the process takes before there is a model (interpreter, libraries, CUDA
context) is not.

On GPUs what a step takes stays taken, in the memory of its graph; what reading and encoding take
comes on top, of the two the larger. Cells are counted in whole blocks (`cache.num_cells`).

On CPUs the peak is of resident memory, so that more counts: features of the requests under way and
a batch of partitions, as bytes and as an array, live there too, libraries touch pages of their own
on first use, and the C library keeps much of what is freed; by how much was measured (results/).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hired_core.backends.base import GIB, Capacity, MemoryLimitError, Sizes
from hired_core.backends.slots.cache import num_cells
from hired_core.backends.slots.workspace import encode_bytes, read_bytes, step_bytes
from hired_core.choices import Pairs
from hired_core.geometry.spec import ModelSpec
from hired_core.methods.schedule import KeepSchedule

PREFILL_CHUNK: Final = 1024
"""Tokens of a prompt that go through the layers at once."""

GPU_LIBRARIES: Final = 2 * 32 * 1024**2
"""A workspace of the matrix library for each of two streams, the working one's and that on which
graphs are captured; from its documentation, for Hopper."""

CPU_LIBRARIES: Final = 56 * 1024**2
CPU_PREFILL_KEPT: Final = 2.0
CPU_ENCODE_KEPT: Final = 1.25
"""Resident on a CPU, over what is in use at the widest moment of prefill and of encoding."""

CPU_HEADROOM: Final = 0.98
"""Of the limit that the prediction may fill: it is off by as much."""


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
        schedule: of rows that are dropped between layers; None: every layer sees all.
        num_visual: visual tokens among the L positions; what is left of L is text, newlines and new
            tokens. Without a schedule it plays no part.
    """

    num_slots: int
    max_length: int
    chunk: int
    weight_bytes: int
    slot_bytes: int
    workspace_bytes: int
    limit_bytes: int
    rotary_length: int
    schedule: KeepSchedule | None = None
    num_visual: int = 0

    @property
    def lengths(self) -> tuple[int, ...]:
        """Positions of a slot in the layers of each segment, i.e. between drops; L in the first."""
        if self.schedule is None:
            return (self.max_length,)
        return tuple(self.max_length - n for n in self.schedule.dropped(self.num_visual))

    @property
    def capacity(self) -> Capacity:
        return Capacity(
            num_slots=self.num_slots,
            total_bytes=self.total_bytes,
            max_length=self.max_length,
            rotary_length=self.rotary_length,
        )

    @property
    def kv_bytes(self) -> int:
        return self.num_slots * self.slot_bytes

    @property
    def total_bytes(self) -> int:
        """The predicted peak."""
        return self.weight_bytes + self.kv_bytes + self.workspace_bytes

    def describe(self) -> str:
        """One line for people."""
        fewer = ""
        if self.schedule is not None:
            later = zip(self.lengths[1:], self.schedule.layers, strict=True)
            fewer = f" ({', '.join(f'{most:,} from layer {layer}' for most, layer in later)})"
        return (
            f"{self.total_bytes / GIB:.2f} of {self.limit_bytes / GIB:.2f} GiB: weights "
            f"{self.weight_bytes / GIB:.2f}, {self.num_slots} slots of {self.max_length:,} "
            f"positions{fewer} {self.kv_bytes / GIB:.2f}, "
            f"workspace {self.workspace_bytes / GIB:.2f}"
        )


def layout_for(sizes: Sizes, *, masked: bool) -> SlotLayout:
    """As `lay_out_slots`, of what is known before a model is loaded."""
    return lay_out_slots(
        sizes.spec,
        max_length=sizes.max_length,
        value_bytes=sizes.dtype.itemsize,
        weight_bytes=sizes.weight_bytes,
        widened_bytes=sizes.widened_bytes,
        limit_bytes=sizes.limit_bytes,
        max_slots=sizes.max_slots,
        on_gpu=sizes.on_gpu,
        images=sizes.images,
        rotary_length=sizes.rotary_length,
        schedule=sizes.schedule,
        num_visual=sizes.num_visual,
        row_width=sizes.row_width,
        all_features=sizes.all_features,
        pairs=sizes.pairs,
        masked=masked,
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
    schedule: KeepSchedule | None = None,
    num_visual: int = 0,
    row_width: int | None = None,
    all_features: bool = False,
    pairs: Pairs | None = None,
    masked: bool = False,
    widened_bytes: int = 0,
) -> SlotLayout:
    """As many slots as the limit has room for, `max_slots` at most.

    A slot has as many positions in each layer as the layer sees: what is dropped takes no memory.

    Args:
        value_bytes: of one number of weights, cells and activations.
        weight_bytes: of all weights that share the limit.
        images: in a batch of the vision stage, if it shares the device; it never runs while the
            engine does.
        rotary_length: see `SlotLayout`; by default `max_length`.
        schedule, num_visual: see `SlotLayout`.
        row_width: of what comes out of the vision stage; by default that of a feature.
        all_features: whether the vision stage computes those of all patches, not of the kept alone.
        pairs: whether it compares them with each other, see `Needs`.
        masked: whether texts are held to a form.
        widened_bytes: that reading a layer of 8-bit weights takes for a moment.

    Raises:
        ValueError: if the schedule does not fit the decoder or `max_length`.
        MemoryLimitError: if there is room for none; tells the numbers and what would help.
    """
    values = _slot_values(spec, max_length, schedule, num_visual, on_gpu=on_gpu)
    slot_bytes = value_bytes * values
    width = row_width or spec.feature_width

    def sized(num_slots: int) -> SlotLayout:
        reading = read_bytes(
            spec,
            max_length=max_length,
            value_bytes=value_bytes,
            chunk=chunk,
            asks=None if schedule is None else schedule.ranker.asks,
            num_text=max_length - num_visual,
        )
        kept, step = step_bytes(
            spec,
            max_length=max_length,
            value_bytes=value_bytes,
            num_slots=num_slots,
            masked=masked,
        )
        encode = encode_bytes(
            spec,
            num_images=images,
            value_bytes=value_bytes,
            on_gpu=on_gpu,
            row_width=width,
            all_features=all_features,
            pairs=pairs,
        )
        reading, encode = reading + widened_bytes, encode + widened_bytes
        workspace = kept + step + widened_bytes + max(reading, encode) + GPU_LIBRARIES
        if not on_gpu:
            own = kept + max(reading, step + widened_bytes)
            features = num_slots * max_length * width * value_bytes
            resident = max(CPU_PREFILL_KEPT * own, CPU_ENCODE_KEPT * encode)
            partitions = 2 * images * spec.geometry.max_pieces * 3 * spec.geometry.piece_size**2
            workspace = int(resident) + features + partitions + CPU_LIBRARIES
        return SlotLayout(
            num_slots=num_slots,
            max_length=max_length,
            chunk=chunk,
            weight_bytes=weight_bytes,
            slot_bytes=slot_bytes,
            workspace_bytes=workspace,
            limit_bytes=limit_bytes,
            rotary_length=rotary_length or max_length,
            schedule=schedule,
            num_visual=num_visual,
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


def _slot_values(
    spec: ModelSpec,
    max_length: int,
    schedule: KeepSchedule | None,
    num_visual: int,
    *,
    on_gpu: bool,
) -> int:
    """Numbers in the cells of one slot: the sum over layers of what each sees."""
    if schedule is None:
        return spec.kv_values_per_token * num_cells(max_length, on_gpu=on_gpu)
    if not 0 <= num_visual < max_length:
        raise ValueError(f"{num_visual} visual tokens among {max_length} positions")
    segments = schedule.segments(spec.num_text_layers)
    dropped = zip(segments, schedule.dropped(num_visual), strict=True)
    cells = sum(len(layers) * num_cells(max_length - n, on_gpu=on_gpu) for layers, n in dropped)
    return 2 * spec.kv_width * cells
