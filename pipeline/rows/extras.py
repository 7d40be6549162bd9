"""Columns that a job adds to the standard ones: carried from its input, parsed from its texts.

Between stages each kind travels as one struct column, typed, or is not there; parts have their
fields as columns of their own, after the standard ones. A job that adds nothing pays nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa

from pipeline.rows.errors import ConfigError
from pipeline.rows.row import CARRIED, PARSED, Row, to_table
from pipeline.rows.schemas import CAPTIONS_SCHEMA, QUARANTINE_SCHEMA

__all__ = [
    "RESERVED_NAMES",
    "STANDARD_NAMES",
    "ExtraColumns",
    "captions_schema",
    "parsed_rows",
    "quarantine_schema",
    "stored_table",
]

_NONE: Final = pa.schema([])
STANDARD_NAMES: Final = frozenset((*CAPTIONS_SCHEMA.names, *QUARANTINE_SCHEMA.names))
RESERVED_NAMES: Final = STANDARD_NAMES | {"image", "prompts", "texts"}
"""With those that exports add."""


@dataclass(frozen=True, kw_only=True)
class ExtraColumns:
    """Names and types, decided before the job runs; pickles to the stages.

    Attributes:
        carried: beside every row, captioned or quarantined.
        parsed: beside captions only.

    Raises:
        ConfigError: if a name is that of a standard column, or of another added one.
    """

    carried: pa.Schema = field(default=_NONE)
    parsed: pa.Schema = field(default=_NONE)

    def __post_init__(self) -> None:
        for name in self.carried.names:
            check_name(
                name, f"carry: {name!r}", f"carry it as another: --carry '{name} as my_{name}'"
            )
        for name in self.parsed.names:
            check_name(name, f"schema: {name!r}", "give the field another name")
        parsed = {name.casefold() for name in self.parsed.names}
        if both := [name for name in self.carried.names if name.casefold() in parsed]:
            raise ConfigError(
                f"carry: {both[0]!r} is parsed from the texts too; rename one of them"
            )

    def on_the_way(self, schema: pa.Schema, *kinds: str) -> pa.Schema:
        """`schema` of rows between stages with what travels in it; of `kinds`, or carried alone."""
        for kind in kinds or (CARRIED,):
            fields = self.of(kind)
            if len(fields):
                schema = schema.append(pa.field(kind, pa.struct(list(fields))))
        return schema

    def of(self, kind: str) -> pa.Schema:
        """The columns of a kind, `CARRIED` or `PARSED`."""
        return self.carried if kind == CARRIED else self.parsed


def check_name(name: str, what: str, way_out: str) -> None:
    """Raises `ConfigError` if the results have a column of that name, in any case."""
    if name.casefold() in RESERVED_NAMES:
        raise ConfigError(f"{what} is a column of the results already; {way_out}")


def captions_schema(extras: ExtraColumns) -> pa.Schema:
    """Of a part of captions/."""
    return pa.schema([*CAPTIONS_SCHEMA, *extras.carried, *extras.parsed])


def quarantine_schema(extras: ExtraColumns) -> pa.Schema:
    """Of a part of quarantine/."""
    return pa.schema([*QUARANTINE_SCHEMA, *extras.carried])


def parsed_rows(table: pa.Table, extras: ExtraColumns) -> list[Row]:
    """Rows of a part as they travel: what is parsed in one struct again, what is carried left out.

    A part of an earlier run may lack some of the columns: these are null.
    """
    names = [name for name in extras.parsed.names if name in table.column_names]
    # What was carried need be no value of Python's, and is the other row's own anyway.
    ours = [name for name in table.column_names if name in STANDARD_NAMES]
    rows: list[Row] = table.select(ours).to_pylist()
    if len(extras.parsed):
        absent = pa.nulls(table.num_rows)
        columns = [
            (table[each.name].combine_chunks() if each.name in names else absent).cast(each.type)
            for each in extras.parsed
        ]
        struct = pa.StructArray.from_arrays(columns, fields=list(extras.parsed))
        for index, row in enumerate(rows):
            row[PARSED] = struct.slice(index, 1)
    return rows


def stored_table(rows: Sequence[Row], schema: pa.Schema, extras: ExtraColumns) -> pa.Table:
    """`rows` as they are stored.

    Args:
        schema: `captions_schema`, or `quarantine_schema`, of `extras`.
    """
    travelled = to_table(list(rows), extras.on_the_way(_NONE, CARRIED, PARSED))
    flat = {
        each.name: column
        for kind in travelled.column_names
        for each, column in zip(extras.of(kind), travelled[kind].flatten(), strict=True)
    }
    plain = to_table(list(rows), pa.schema([f for f in schema if f.name not in flat]))
    return pa.table([flat.get(f.name) or plain[f.name] for f in schema], schema=schema)
