"""One row an image, where prompts have names: a column for each prompt."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from hired_core.language.form import Form
from pipeline.export.groups import image_of
from pipeline.rows.errors import ConfigError
from pipeline.rows.parsing import Parser
from pipeline.rows.row import Row

__all__ = ["Wide", "columns_of_prompts", "names_of_prompts"]

_OF_PROMPTS: Final = (
    *("prompt", "text", "finish_reason", "flags", "prompt_tokens", "output_tokens"),
    *("duplicate_of", "duplicate_distance"),
)


def names_of_prompts(fields: Mapping[str, Any], found: Iterable[str]) -> list[str]:
    """Sorted; also those of which no caption is there, so that columns do not depend on that.

    Args:
        fields: of the output's fingerprint, which tell what was asked.
        found: names that captions have.
    """
    asked = fields.get("prompt")
    return sorted({*found, *(asked if isinstance(asked, Mapping) else ())})


def columns_of_prompts(fields: Mapping[str, Any]) -> tuple[str, ...]:
    """Columns that become one for each prompt, e.g. `text_short`; all else is of the image.

    Args:
        fields: of the output's fingerprint, which tell what texts were parsed into.
    """
    generation = fields.get("generation") or {}
    schema, choices = generation.get("schema"), generation.get("choices") or ()
    if schema is None and not choices:
        return _OF_PROMPTS
    form = Form(None if schema is None else json.loads(schema), choices)
    return (*_OF_PROMPTS, *Parser(form).schema.names)


class Wide:
    """Rows of an image become one.

    Args:
        stored: the columns of captions.
        names: of the prompts.
        columns: those of prompts (`columns_of_prompts`).

    Attributes:
        schema: the columns of the image, then those of each prompt.

    Raises:
        ConfigError: if prompts have no names, or a carried column is called like one of these.
    """

    def __init__(
        self, stored: pa.Schema, names: Sequence[str], columns: Sequence[str] = _OF_PROMPTS
    ) -> None:
        if not names:
            raise ConfigError("prompts_as: the prompts of this output have no names; leave it out")
        self._columns = [column for column in columns if column in stored.names]
        shared = [each for each in stored if each.name not in (*columns, "prompt_name")]
        added = [
            pa.field(f"{column}_{name}", stored.field(column).type)
            for name in names
            for column in self._columns
        ]
        if both := {each.name for each in shared} & {each.name for each in added}:
            raise ConfigError(f"prompts_as: {min(both)!r} is a carried column already; use rows")
        times = Counter(each.name for each in added)
        if doubled := [name for name, count in times.items() if count > 1]:
            raise ConfigError(
                f"prompts_as: {doubled[0]!r} would be a column of two prompts, whose names are "
                f"{', '.join(names)}; use rows"
            )
        self.schema = pa.schema([*shared, *added])

    def row(self, rows: Sequence[Row]) -> Row:
        """Of the captions of one image; null for a prompt that has none."""
        first = rows[0]
        found = first | {"image_id": image_of(first["image_id"], first["prompt_name"])}
        for row in rows:
            found |= {f"{column}_{row['prompt_name']}": row[column] for column in self._columns}
        return {name: found.get(name) for name in self.schema.names}
