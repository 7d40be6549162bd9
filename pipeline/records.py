"""Arrow schemas of everything that moves between stages or lands in storage.

Bulk values (encoded images, uint8 partitions, features) travel as `large_binary`: ragged across
rows, nullable, and read back without a copy, where Arrow's ragged tensors would turn into Python
objects.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

ERROR_FIELDS: Final = [
    pa.field("error_stage", pa.string()),
    pa.field("error_code", pa.string()),
    pa.field("error_detail", pa.string()),
]

ROW_SCHEMA: Final = pa.schema(
    [
        pa.field("image_id", pa.string()),
        pa.field("shard", pa.string()),
        pa.field("key", pa.string()),
        pa.field("image", pa.large_binary()),
        # One entry per question asked of the image; both lists have the same length.
        pa.field("row_ids", pa.list_(pa.string())),
        pa.field("prompts", pa.list_(pa.string())),
        *ERROR_FIELDS,
        # Null but on the marker that ends a shard, where it counts the shard's rows.
        pa.field("shard_rows", pa.int64()),
        # JSON objects, one per stage and batch, attached to the batch's first row.
        pa.field("stats", pa.list_(pa.string())),
    ]
)
"""What the read stage hands on: image rows, and one marker row at the end of every shard.

A marker has `shard` and `shard_rows` set, everything else null: it lets the end of the job prove
that nothing was lost on the way, for shards whose row count only reading can tell.
"""
