"""What a model needs beside weights and cells at its widest moment, by arithmetic.

Everything the engine allocates is counted; results/ says how far that is from what was measured.
"""

from __future__ import annotations

import ctypes
from collections.abc import Collection
from typing import Final

from hired_core.backends.slots.dropping import QUERIES_AT_ONCE
from hired_core.choices import Pairs
from hired_core.geometry.spec import ModelSpec
from hired_core.methods.schedule import Ask
from hired_core.vision.attention import RECEIVED_AT_ONCE
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
    out = row_width or spec.feature_width
    kept = num_images * spec.nominal_tokens * out * value_bytes
    if spec.geometry.max_side is not None:
        largest = spec.geometry.max_pieces
        images = max(1, min(patches // largest, num_images))
        layer = _whole_layer_bytes(spec, images * largest, value_bytes)
        places = images * spec.geometry.max_places
        every = places * (spec.feature_width + 3 * out) * value_bytes if all_features else 0
        alike = _pair_bytes(spec, pairs, max(spec.feature_width, out))
        return layer + kept + every + alike * places // spec.num_tokens
    most = num_images * spec.max_partitions
    at_once = min(max(patches // spec.num_patches, spec.max_partitions), most)
    pixels = at_once * 3 * spec.partition_size**2
    width = spec.vision_width
    row = max(8 * width, 5 * width + spec.vision_inner)
    layer = at_once * (spec.num_patches + 1) * row * value_bytes
    # Those of all tokens, and the projector's two layers where they go through it.
    feature = spec.feature_width + 2 * out
    every = at_once * spec.num_tokens * feature * value_bytes if all_features else 0
    alike = _pair_bytes(spec, pairs, max(spec.feature_width, out)) * at_once
    return pixels + max(2 * 4 * pixels, layer) + kept + every + alike


def _whole_layer_bytes(spec: ModelSpec, patches: int, value_bytes: int) -> int:
    """Of so many patches of images that are encoded as a whole: pixels, and the widest of embedding
    them, a layer, and the attention that they receive, a few queries at a time in float32.
    """
    pixels, width = patches * 3 * spec.geometry.piece_size**2, spec.vision_width
    embedding = 2 * 4 * pixels + 2 * value_bytes * pixels
    row = max(12 * width, 6 * width + 2 * spec.vision_inner)
    received = 2 * 4 * RECEIVED_AT_ONCE * max(1, width // 64)
    return pixels + max(embedding, patches * row * value_bytes + received)


def _pair_bytes(spec: ModelSpec, pairs: Pairs | None, width: int) -> int:
    """For each partition: its tokens in float32, and those again or what is told of pairs."""
    if pairs is None:
        return 0
    others = spec.num_tokens if pairs == "partition" else spec.geometry.max_places
    return 4 * spec.num_tokens * (width + max(width, PAIR_ARRAYS[pairs] * others))


def generate_bytes(
    spec: ModelSpec,
    *,
    max_length: int,
    value_bytes: int,
    chunk: int,
    num_slots: int,
    asks: Collection[Ask] | None = None,
    num_text: int = 0,
    masked: bool = False,
) -> int:
    """Of the widest moment of prefill or decode, beside weights and cells.

    Args:
        asks: what a ranker looks at, where rows are dropped between layers: the prompt then stops
            there as a whole. None: no rows are dropped.
        num_text: the most rows of text that it looks at.
        masked: whether texts are held to a form.
    """
    reading = read_bytes(
        spec,
        max_length=max_length,
        value_bytes=value_bytes,
        chunk=chunk,
        asks=asks,
        num_text=num_text,
    )
    kept, step = step_bytes(
        spec, max_length=max_length, value_bytes=value_bytes, num_slots=num_slots, masked=masked
    )
    return kept + max(reading, step)


def read_bytes(
    spec: ModelSpec,
    *,
    max_length: int,
    value_bytes: int,
    chunk: int,
    asks: Collection[Ask] | None = None,
    num_text: int = 0,
) -> int:
    """Of reading a prompt; arguments as of `generate_bytes`."""
    whole = between = 0
    if asks is not None:
        whole = max_length * spec.text_width
        between = _ranking_bytes(spec, max_length, min(chunk, max_length), value_bytes, asks)
        between += _text_bytes(spec, max_length, num_text, value_bytes, asks)
    values = _prefill_values(spec, max_length, min(chunk, max_length)) + whole
    return max(values * value_bytes, between)


def step_bytes(
    spec: ModelSpec, *, max_length: int, value_bytes: int, num_slots: int, masked: bool = False
) -> tuple[int, int]:
    """(what stays from step to step, what a decode step takes beside it).

    With masks, logits between the two halves of a step, masks and their copy on the host stay; and
    a step takes a mask's bits while they are taken apart, and logits before bans.
    """
    kept, more = (num_slots * spec.vocab_size * n for n in ((5, 11) if masked else (0, 0)))
    return kept, _decode_bytes(spec, max_length, num_slots, value_bytes) + more


def _prefill_values(spec: ModelSpec, max_length: int, chunk: int) -> int:
    """Numbers alive at once: the prompt's embeddings, and for a chunk either attention or MLP."""
    width, inner = spec.text_width, spec.text_inner
    heads, shared = spec.query_width, spec.kv_width
    prompt = 2 * max_length * spec.projected_width  # With what the first layers add to rows.
    attention = chunk * (2 * width + 4 * heads + 4 * shared)
    mask = chunk * max_length if chunk < max_length else 0
    mlp = chunk * (2 * width + 2 * inner)
    return prompt + max(attention + mask, mlp)


def _ranking_bytes(
    spec: ModelSpec, max_length: int, chunk: int, value_bytes: int, asks: Collection[Ask]
) -> int:
    """Between layers: the prompt three times, and for each position what is asked for.

    That is, of attention, keys and some rows of one head's width in float32; of what is handed out
    as it is, a copy, and the ranker's own in float32. A ranker that is shown hidden states may
    compare a third of them with each other.
    """
    width, keys = spec.text_width, spec.kv_width
    attention = 4 * (keys + spec.query_width // 8)
    # Of queries at once: scores, a mask's copy or probabilities, and these twice in float64.
    text = 4 * keys + 24 * max(QUERIES_AT_ONCE, spec.query_width // 16)
    copies = {
        "last_attention": attention,
        "next_attention": attention + 2 * value_bytes * keys,
        "text_attention": text,
        "keys": (value_bytes + 4) * keys,
        "hidden": (value_bytes + 4) * width + max_length,
        "inputs": (value_bytes + 4) * width,
    }
    rows = 3 * value_bytes * width + sum(copies[ask] for ask in asks)
    # A layer's norm and keys of a chunk, before it runs.
    ahead = chunk * ((8 + value_bytes) * width + 3 * value_bytes * keys)
    return max_length * rows + (ahead if "next_attention" in asks else 0)


def _text_bytes(
    spec: ModelSpec, max_length: int, num_text: int, value_bytes: int, asks: Collection[Ask]
) -> int:
    """What rows of the text after the image take, beside what positions do."""
    queries = (4 + 2 * value_bytes) * spec.query_width + 2 * 8 * max_length
    match = 4 * spec.text_width + 24 * max_length
    row = (queries if "text_attention" in asks else 0) + (match if "inputs" in asks else 0)
    return num_text * (row + 4 * spec.text_width * ("hidden" in asks))


def _decode_bytes(spec: ModelSpec, max_length: int, num_slots: int, value_bytes: int) -> int:
    """A step over all slots: activations, logits in float32 and the mask."""
    row = 2 * spec.text_width + 2 * spec.text_inner + spec.vocab_size
    return num_slots * (value_bytes * row + 4 * spec.vocab_size + max_length * (1 + value_bytes))


def trim_memory() -> None:
    """Gives back to the system what the C library keeps of freed memory, where it can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
