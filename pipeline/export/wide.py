"""One row an image, where prompts have names: a column for each prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from pipeline.export.groups import image_of
from pipeline.rows.errors import ConfigError
from pipeline.rows.row import Row

__all__ = ["wide_row", "wide_schema"]

_OF_PROMPTS: Final = (
    *("prompt", "text", "finish_reason", "flags", "prompt_tokens", "output_tokens"),
)
"""Columns that become one for each prompt, e.g. `text_short`; all else is of the image."""


def wide_schema(schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    """The columns of the image, then those of each prompt.

    Raises:
        ConfigError: if prompts have no names, or a carried column is called like one of these.
    """
    if not names:
        raise ConfigError("prompts_as: the prompts of this output have no names; leave it out")
    shared = [each for each in schema if each.name not in (*_OF_PROMPTS, "prompt_name")]
    added = [
        pa.field(f"{column}_{name}", schema.field(column).type)
        for name in names
        for column in _OF_PROMPTS
    ]
    if both := {each.name for each in shared} & {each.name for each in added}:
        raise ConfigError(f"prompts_as: {min(both)!r} is a carried column already; use rows")
    return pa.schema([*shared, *added])


def wide_row(rows: Sequence[Row], schema: pa.Schema) -> Row:
    """Of the captions of one image; null for a prompt that has none.

    Args:
        schema: that of `wide_schema`.
    """
    first = rows[0]
    found = first | {"image_id": image_of(first["image_id"], first["prompt_name"])}
    for row in rows:
        found |= {f"{column}_{row['prompt_name']}": row[column] for column in _OF_PROMPTS}
    return {name: found.get(name) for name in schema.names}
