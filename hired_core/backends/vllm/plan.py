"""What vLLM takes beside what this process holds, by arithmetic.

The engine has the decoder, a paged cache with room for the longest request in each of its
sequences, and the workspace of its widest step; this process the table of words, the projector, and
the vision half where both share the memory. On a GPU vLLM's own profile has the last word: it sizes
the cache within the share that it is given, and `engine` compares the two. On CPUs it profiles
nothing and is told the size of its cache.

As with `slots`, what a process takes before there is a model is not counted; of the engine's that
is vLLM itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hired_core.backends.base import GIB, Capacity, MemoryLimitError, Sizes
from hired_core.backends.slots.memory import (
    CPU_ENCODE_KEPT,
    CPU_HEADROOM,
    CPU_LIBRARIES,
    CPU_PREFILL_KEPT,
    PREFILL_CHUNK,
)
from hired_core.backends.slots.workspace import encode_bytes
from hired_core.geometry.spec import ModelSpec

__all__ = ["VllmPlan", "plan_engine"]

BLOCK_GPU: Final = 16
BLOCK_CPU: Final = 32
"""Positions of a block of the cache; vLLM's kernels for CPUs want multiples of 32."""

GPU_ENGINE: Final = 3 * GIB // 2
"""Of a card, for the engine's context, libraries and graphs. Assumed, not measured here."""

_COPIES: Final = 3
"""Of a request's embeddings: this process's, the message and the engine's."""


@dataclass(frozen=True, kw_only=True)
class VllmPlan:
    """How many requests vLLM runs at once, in how much memory of each device.

    Attributes:
        num_slots: its `max_num_seqs`.
        max_length: its `max_model_len`: positions of the longest request.
        block_size, num_blocks: of its cache, the block that vLLM keeps for itself included.
        block_bytes: of one block, on each device.
        batched_tokens: tokens of a step.
        weight_bytes: of the decoder, on each device.
        own_bytes: of this process: weights and the widest moment of encoding.
        workspace_bytes: of the engine's widest step, and of what travels to it.
        limit_bytes: what all of it may take.
        on_gpu: whether that is a GPU's memory.
        tensor_parallel: GPUs that share the decoder.
    """

    num_slots: int
    max_length: int
    block_size: int
    num_blocks: int
    block_bytes: int
    batched_tokens: int
    weight_bytes: int
    own_bytes: int
    workspace_bytes: int
    limit_bytes: int
    on_gpu: bool
    tensor_parallel: int

    @property
    def kv_bytes(self) -> int:
        return self.num_blocks * self.block_bytes

    @property
    def engine_bytes(self) -> int:
        """What the engine may take of a device: all that the limit leaves."""
        return self.limit_bytes - self.own_bytes

    @property
    def total_bytes(self) -> int:
        """The predicted peak."""
        return self.own_bytes + self.weight_bytes + self.kv_bytes + self.workspace_bytes

    @property
    def capacity(self) -> Capacity:
        return Capacity(
            num_slots=self.num_slots,
            total_bytes=self.total_bytes,
            max_length=self.max_length,
            rotary_length=self.max_length,
        )

    def describe(self) -> str:
        """One line for people."""
        gpus = self.tensor_parallel
        each = f" on each of {gpus} GPUs" if gpus > 1 else ""
        return (
            f"{self.total_bytes / GIB:.2f} of {self.limit_bytes / GIB:.2f} GiB{each}: vllm with "
            f"weights {self.weight_bytes / GIB:.2f}, {self.num_slots} requests of "
            f"{self.max_length:,} positions {self.kv_bytes / GIB:.2f}, workspace "
            f"{self.workspace_bytes / GIB:.2f}; vision, projector and words "
            f"{self.own_bytes / GIB:.2f}"
        )


def plan_engine(sizes: Sizes) -> VllmPlan:
    """As many requests at once as the limit has room for, `max_slots` at most.

    Raises:
        MemoryLimitError: if there is room for none; tells the numbers and what would help.
    """
    usable = sizes.limit_bytes if sizes.on_gpu else int(CPU_HEADROOM * sizes.limit_bytes)
    for num_slots in range(sizes.max_slots, 0, -1):
        found = _sized(sizes, num_slots)
        if found.total_bytes <= usable:
            return found
    least = _sized(sizes, 1)
    raise MemoryLimitError(
        f"{least.total_bytes / GIB:.2f} GiB are needed for one request (weights "
        f"{least.weight_bytes / GIB:.2f}, {least.max_length:,} positions "
        f"{least.kv_bytes / GIB:.2f}, workspace {least.workspace_bytes / GIB:.2f}, beside vllm "
        f"{least.own_bytes / GIB:.2f}), the limit is {sizes.limit_bytes / GIB:.2f}; "
        "raise it, or lower the token budget or the number of new tokens"
    )


def _sized(sizes: Sizes, num_slots: int) -> VllmPlan:
    spec, gpus, value = sizes.spec, sizes.tensor_parallel, sizes.dtype.itemsize
    block = BLOCK_GPU if sizes.on_gpu else BLOCK_CPU
    blocks = -(-sizes.max_length // block)
    batched = max(2 * PREFILL_CHUNK, num_slots)
    workspace = _step_bytes(spec, batched, num_slots, value) // gpus
    if sizes.on_gpu:
        workspace += GPU_ENGINE
    else:
        travelling = _COPIES * num_slots * sizes.max_length * spec.text_width * value
        workspace = int(CPU_PREFILL_KEPT * workspace) + travelling + CPU_LIBRARIES
    return VllmPlan(
        num_slots=num_slots,
        max_length=sizes.max_length,
        block_size=block,
        num_blocks=num_slots * blocks + 1,
        block_bytes=-(-block * spec.kv_values_per_token * value // gpus),
        batched_tokens=batched,
        weight_bytes=sizes.decoder_bytes // gpus,
        own_bytes=_own_bytes(sizes),
        workspace_bytes=workspace,
        limit_bytes=sizes.limit_bytes,
        on_gpu=sizes.on_gpu,
        tensor_parallel=gpus,
    )


def _own_bytes(sizes: Sizes) -> int:
    """Of this process. Where the engine has several GPUs it holds none of them."""
    if sizes.tensor_parallel > 1:
        return 0
    spec, value = sizes.spec, sizes.dtype.itemsize
    encode = encode_bytes(
        spec,
        num_images=sizes.images,
        value_bytes=value,
        on_gpu=sizes.on_gpu,
        row_width=sizes.row_width,
        all_features=sizes.all_features,
        pairs=sizes.pairs,
    )
    weights = sizes.vision_bytes + value * sizes.words
    if sizes.on_gpu:
        return weights + encode
    partitions = 2 * sizes.images * spec.geometry.max_pieces * 3 * spec.geometry.piece_size**2
    return weights + int(CPU_ENCODE_KEPT * encode) + partitions


def _step_bytes(spec: ModelSpec, tokens: int, num_slots: int, value_bytes: int) -> int:
    """Activations of a step's tokens, and of each sequence its logits, as they are sampled from."""
    attention = 2 * spec.query_width + 4 * spec.kv_width + 2 * spec.query_width
    mlp = 3 * spec.text_inner
    row = 4 * spec.text_width + max(attention, mlp)
    logits = num_slots * spec.vocab_size * (value_bytes + 3 * 4)
    return tokens * row * value_bytes + logits
