"""Arrow schemas of everything that moves between stages or lands in storage.

Bulk values (encoded images, uint8 partitions, features) travel as `large_binary`: ragged across
rows, nullable, and cheap to read back, where Arrow's ragged tensors would turn into Python objects.
"""

from __future__ import annotations

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
    # One entry per question asked of the image; both lists have the same length.
    pa.field("row_ids", _TEXTS),
    pa.field("prompts", _TEXTS),
]
_FLOW: Final = [
    *_ERROR,
    # Null but on the marker that ends a shard, where it counts the shard's rows.
    pa.field("shard_rows", pa.int64()),
    # JSON objects, one per stage and batch, attached to the batch's first row.
    pa.field("stats", _TEXTS),
]
_IMAGE: Final = [
    pa.field("sha256", pa.string()),
    pa.field("width", pa.int32()),
    pa.field("height", pa.int32()),
    pa.field("num_partitions", pa.int32()),
]
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
_PROVENANCE: Final = [
    pa.field("model", pa.string()),
    pa.field("method", pa.string()),
    pa.field("token_budget", pa.float64()),
    pa.field("fingerprint", pa.string()),
    pa.field("run_id", pa.string()),
]

ROW_SCHEMA: Final = pa.schema([*_ID, pa.field("image", pa.large_binary()), *_QUESTIONS, *_FLOW])
"""What the read stage hands on: image rows, and one marker row at the end of every shard.

A marker has `shard` and `shard_rows` set, everything else null: it lets the end of the job prove
that nothing was lost on the way, for shards whose row count only reading can tell.
"""

PARTITIONED_SCHEMA: Final = pa.schema(
    [*_ID, *_IMAGE, pa.field("partitions", pa.large_binary()), *_QUESTIONS, *_FLOW]
)
"""After the partition stage: `partitions` is uint8 [P, 3, S, S], C order."""

SELECTED_SCHEMA: Final = pa.schema(
    [
        *_ID,
        *_IMAGE,
        *_TOKENS,
        # [K, C] in C order, float16 (float32 where the vision tower computes in float32).
        pa.field("features", pa.large_binary()),
        # int32 [K]: positions of the kept tokens, ascending (`PartitionLayout.order`).
        pa.field("order", pa.large_binary()),
        *_QUESTIONS,
        *_FLOW,
    ]
)
"""After the select stage."""

ANSWERED_SCHEMA: Final = pa.schema([*_ID, *_IMAGE, *_TOKENS, *_TEXT, *_FLOW])
"""After the generate stage: one row per question, `image_id` the question's own."""

CAPTIONS_SCHEMA: Final = pa.schema(
    [
        *_ID,
        *_IMAGE[:3],
        *_TEXT[:3],
        _IMAGE[3],
        *_TOKENS,
        *_TEXT[3:],
        *_PROVENANCE,
    ]
)
QUARANTINE_SCHEMA: Final = pa.schema([*_ID, *_ERROR, _TEXT[0], *_PROVENANCE[3:]])

SUMMARY_SCHEMA: Final = pa.schema(
    [
        pa.field("shard", pa.string()),
        pa.field("captions", pa.int64()),
        pa.field("quarantined", pa.int64()),
        pa.field("shard_rows", pa.int64()),
        pa.field("markers", pa.int64()),
    ]
)
"""What the write stage tells the driver: per part and shard, rows stored, markers seen and the rows
these announce."""
