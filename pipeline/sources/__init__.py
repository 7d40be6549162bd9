"""Reading images and prompts from tables, WebDataset, Hugging Face datasets and loose files.

`list_input` turns inputs into shards, `read_shard` a shard into tables of `ROW_SCHEMA`. Plain
Python over pyarrow and fsspec: no Ray here.
"""

from pipeline.sources.carried.looked_at import columns_of
from pipeline.sources.carried.request import choose_carried, listed, parse_carry
from pipeline.sources.listing import Listing, list_input
from pipeline.sources.rows import LOST, PASSED_OVER, StoredRows, unread_tables
from pipeline.sources.samples import Failure
from pipeline.sources.shard import ReadOptions, Shard
from pipeline.sources.shard_reader import check_columns, count_rows, limit_shards, read_shard
from pipeline.sources.tables.image_column import name_of_images
from pipeline.sources.templates.template import columns_of_template, is_template
from pipeline.storage.files import redact_url

__all__ = [
    "LOST",
    "PASSED_OVER",
    "Failure",
    "Listing",
    "ReadOptions",
    "Shard",
    "StoredRows",
    "check_columns",
    "choose_carried",
    "columns_of",
    "columns_of_template",
    "count_rows",
    "is_template",
    "limit_shards",
    "list_input",
    "listed",
    "name_of_images",
    "parse_carry",
    "read_shard",
    "redact_url",
    "unread_tables",
]
