"""Arrow schemas of everything that moves between stages or lands in storage.

Bulk values (encoded images, uint8 partitions, features) travel as `large_binary`: ragged across
rows, nullable, and cheap to read back, where Arrow's ragged tensors would turn into Python objects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pyarrow as pa

_TEXTS: Final = pa.list_(pa.string())

_ID: Final = [
    pa.field("image_id", pa.string()),
    pa.field("shard", pa.string()),
    pa.field("key", pa.string()),
]
_ERROR: Final = [
    pa.field("error_stage", pa.string()),
    pa.field("error_code", pa.string()),
    pa.field("error_detail", pa.string()),
]
_QUESTIONS: Final = [
    # One entry per question asked of the image; all lists have the same length.
    pa.field("row_ids", _TEXTS),
    pa.field("prompts", _TEXTS),
    # With --duplicates copy, for each question the number of the row whose caption it gets
    # (`pipeline.copies.registry`), null where it is asked; null as a whole where all are.
    pa.field("firsts", pa.list_(pa.int64())),
    # Null where prompts have no names, and where none has failed ("code: detail").
    pa.field("prompt_names", _TEXTS),
    pa.field("prompt_failures", _TEXTS),
]
QUESTION_COLUMNS: Final = tuple(each.name for each in _QUESTIONS)
_END: Final = [
    pa.field("shard_rows", pa.int64()),
    pa.field("shard_digest", pa.int64()),
    pa.field("skipped_rows", pa.int64()),
    pa.field("skipped_digest", pa.int64()),
    pa.field("doubled_rows", pa.int64()),
]
_FLOW: Final = [
    *_ERROR,
    # What the shard is called in the ledger: the buckets of one folder share a name.
    pa.field("ledger_id", pa.string()),
    # Null but on the marker that ends a shard: `ShardEnd` says what they mean.
    *_END,
    # JSON objects, one per stage and batch, attached to the batch's first row.
    pa.field("stats", _TEXTS),
]
_IMAGE: Final = [
    pa.field("sha256", pa.string()),
    pa.field("width", pa.int32()),
    pa.field("height", pa.int32()),
    # Until the select stage: squares in `partitions`, which are patches where an image is encoded
    # as a whole.
    pa.field("num_partitions", pa.int32()),
]
_NOTES: Final = pa.field("image_notes", _TEXTS)
"""What is not simply as in the file (`hired_core.images.notes`); empty where nothing is.

Parts of earlier versions lack it.
"""
_PHASH: Final = pa.field("phash", pa.int64())
"""Of the picture, where near duplicates are looked for (`pipeline.isolation.likeness`)."""
_DUPLICATE: Final = [
    # The `image_id` whose caption this is; null where the row has its own.
    pa.field("duplicate_of", pa.string()),
    # Bits by which the two `phash` differ; null where the images are the same byte for byte.
    pa.field("duplicate_distance", pa.int32()),
    _PHASH,
]
"""Parts of earlier versions lack them."""
_TOKENS: Final = [
    pa.field("visual_tokens_dense", pa.int32()),
    pa.field("visual_tokens_kept", pa.int32()),
    pa.field("partition_budgets", pa.list_(pa.int32())),
]
_TEXT: Final = [
    pa.field("prompt", pa.string()),
    pa.field("text", pa.string()),
    pa.field("finish_reason", pa.string()),
    pa.field("prompt_tokens", pa.int32()),
    pa.field("output_tokens", pa.int32()),
]
_PROMPT_NAME: Final = pa.field("prompt_name", pa.string())
"""Of `--prompt NAME=TEXT`; null where prompts have no names. Parts of earlier versions lack it."""
_FLAGS: Final = pa.field("flags", _TEXTS)
"""What is wrong with the text (`pipeline.quality.criteria.FLAGS`); empty where nothing is.

Parts of earlier versions lack it.
"""
_PROVENANCE: Final = [
    pa.field("model", pa.string()),
    pa.field("method", pa.string()),
    pa.field("token_budget", pa.float64()),
    pa.field("fingerprint", pa.string()),
    pa.field("run_id", pa.string()),
]

ROW_SCHEMA: Final = pa.schema([*_ID, pa.field("image", pa.large_binary()), *_QUESTIONS, *_FLOW])
"""What the read stage hands on: image rows, and one marker row at the end of every shard.

A marker has the shard's names and the columns of `ShardEnd` set, everything else null: it lets the
end of the job prove that nothing was lost on the way, for shards whose row count only reading can
tell.
"""


@dataclass(frozen=True, kw_only=True)
class ShardEnd:
    """What a marker tells of its shard, each as count and digest of row ids (see `IdSum`).

    Attributes:
        shard_rows, shard_digest: rows handed on before the marker.
        skipped_rows, skipped_digest: rows left out because an earlier run has stored them.
        doubled_rows: rows among the skipped that are stored more than once.
    """

    shard_rows: int
    shard_digest: int
    skipped_rows: int = 0
    skipped_digest: int = 0
    doubled_rows: int = 0


PARTITIONED_SCHEMA: Final = pa.schema(
    [*_ID, *_IMAGE, _NOTES, _PHASH, pa.field("partitions", pa.large_binary()), *_QUESTIONS, *_FLOW]
)
"""After the partition stage: `partitions` is uint8 [P, 3, S, S], C order (see `Geometry.cut`)."""

SELECTED_SCHEMA: Final = pa.schema(
    [
        *_ID,
        *_IMAGE,
        _PHASH,
        _NOTES,
        *_TOKENS,
        # [K, C], or [K, D] where projected, in C order, float16 (float32 where the vision tower
        # computes in float32).
        pa.field("features", pa.large_binary()),
        pa.field("projected", pa.bool_()),
        # int32 [K], ascending: where each row stands (`PartitionLayout.place`).
        pa.field("place", pa.large_binary()),
        *_QUESTIONS,
        *_FLOW,
    ]
)
"""After the select stage."""

_FIRST: Final = pa.field("first", pa.int64())
"""Of a row that gets the caption of another: that one's number."""

ANSWERED_SCHEMA: Final = pa.schema(
    [*_ID, *_IMAGE, _NOTES, *_TOKENS, _PROMPT_NAME, *_TEXT, _FLAGS, *_DUPLICATE, _FIRST, *_FLOW]
)
"""After the generate stage: one row per question, `image_id` the question's own."""

WAITING_SCHEMA: Final = pa.schema(
    [
        *(*_ID, *_IMAGE[:3], _NOTES, _PHASH, _PROMPT_NAME, _TEXT[0], _FIRST),
        pa.field("ledger_id", pa.string()),
    ]
)
"""Rows that wait for the caption of another: what of them is their own."""

CAPTIONS_SCHEMA: Final = pa.schema(
    [
        *_ID,
        *_IMAGE[:3],
        _PROMPT_NAME,
        *_TEXT[:3],
        _FLAGS,
        _NOTES,
        _IMAGE[3],
        *_TOKENS,
        *_TEXT[3:],
        *_DUPLICATE,
        *_PROVENANCE,
    ]
)
QUARANTINE_SCHEMA: Final = pa.schema([*_ID, *_ERROR, _PROMPT_NAME, _TEXT[0], *_PROVENANCE[3:]])

SUMMARY_SCHEMA: Final = pa.schema(
    [
        pa.field("ledger_id", pa.string()),
        pa.field("name", pa.string()),
        # A share: rows of the shard in one part. Null on markers.
        pa.field("path", pa.string()),
        pa.field("rows", pa.int64()),
        pa.field("digest", pa.int64()),
        # JSON object, error code -> rows.
        pa.field("codes", pa.string()),
        *_END,
    ]
)
"""What the write stage tells the driver: one row for each shard in each part it stored, and the
markers that it saw."""
