"""Reading images and prompts from Parquet, WebDataset, Hugging Face datasets and loose files.

`list_shards` turns inputs into shards, `read_shard` a shard into tables of `ROW_SCHEMA`. Plain
Python over pyarrow and fsspec: no Ray here.
"""

from pipeline.sources.listing import list_shards
from pipeline.sources.read import check_columns, count_rows, limit_shards, read_shard
from pipeline.sources.shard import ReadOptions, Shard
from pipeline.sources.storage import redact_url

__all__ = [
    "ReadOptions",
    "Shard",
    "check_columns",
    "count_rows",
    "limit_shards",
    "list_shards",
    "read_shard",
    "redact_url",
]
