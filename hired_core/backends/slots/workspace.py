"""What a model needs beside weights and cells at its widest moment, by arithmetic.

Everything the engine allocates is counted; results/ says how far that is from what was measured.
"""

from __future__ import annotations

import ctypes
from typing import Final

from hired_core.choices import Pairs
from hired_core.geometry.spec import ModelSpec
from hired_core.vision.tower import ACCELERATOR_MICRO_BATCH, CPU_MICRO_BATCH

PAIR_ARRAYS: Final[dict[Pairs, int]] = {"partition": 6, "image": 4}
"""Numbers alive at once for each pair of tokens that a method compares; merging, which stays within
partitions, sorts them."""


def encode_bytes(
    spec: ModelSpec,
    *,
    num_images: int,
    value_bytes: int,
    on_gpu: bool,
    row_width: int | None = None,
    all_features: bool = False,
    pairs: Pairs | None = None,
) -> int:
    """Of the vision stage while it encodes a batch of images of the largest grid.

    Args:
        row_width, all_features, pairs: see `lay_out_slots`.
    """
    if not num_images:
        return 0
    patches = ACCELERATOR_MICRO_BATCH if on_gpu else CPU_MICRO_BATCH
    most = num_images * spec.max_partitions
    at_once = min(max(patches // spec.num_patches, spec.max_partitions), most)
    pixels = at_once * 3 * spec.partition_size**2
    width = spec.vision_width
    row = max(8 * width, 5 * width + spec.vision_inner)
    layer = at_once * (spec.num_patches + 1) * row * value_bytes
    out = row_width or width
    kept = num_images * spec.nominal_tokens * out * value_bytes
    # Those of all patches, and the projector's two layers where they go through it.
    every = at_once * spec.num_patches * (width + 2 * out) * value_bytes if all_features else 0
    alike = _pair_bytes(spec, pairs, max(width, out)) * at_once
    return pixels + max(2 * 4 * pixels, layer) + kept + every + alike


def _pair_bytes(spec: ModelSpec, pairs: Pairs | None, width: int) -> int:
    """For each partition: its tokens in float32, and those again or what is told of pairs."""
    if pairs is None:
        return 0
    others = spec.num_patches if pairs == "partition" else spec.nominal_tokens
    return 4 * spec.num_patches * (width + max(width, PAIR_ARRAYS[pairs] * others))


def generate_bytes(
    spec: ModelSpec,
    *,
    max_length: int,
    value_bytes: int,
    chunk: int,
    num_slots: int,
    drops: bool = False,
) -> int:
    """Of the widest moment of prefill or decode, beside weights and cells.

    Args:
        drops: whether rows are dropped between layers: the prompt then stops there as a whole.
    """
    between = _ranking_bytes(spec, max_length, value_bytes) if drops else 0
    whole = max_length * spec.text_width if drops else 0
    return max(
        (_prefill_values(spec, max_length, min(chunk, max_length)) + whole) * value_bytes,
        between,
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


def _ranking_bytes(spec: ModelSpec, max_length: int, value_bytes: int) -> int:
    """Between layers: the prompt three times; keys and some rows of one head's width in float32."""
    ranked = spec.kv_width + spec.query_width // 8
    return max_length * (3 * value_bytes * spec.text_width + 4 * ranked)


def _decode_bytes(spec: ModelSpec, max_length: int, num_slots: int, value_bytes: int) -> int:
    """A step over all slots: activations, logits in float32 and the mask."""
    row = 2 * spec.text_width + 2 * spec.text_inner + spec.vocab_size
    return num_slots * (value_bytes * row + 4 * spec.vocab_size + max_length * (1 + value_bytes))


def trim_memory() -> None:
    """Gives back to the system what the C library keeps of freed memory, where it can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
