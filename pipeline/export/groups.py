"""The captions of an output, one shard at a time, as its ledger names them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.ledger.records import ShardRecord
from pipeline.parts.sink import Sink
from pipeline.rows.errors import ConfigError
from pipeline.rows.fitting import common_schema, fit
from pipeline.rows.schemas import CAPTIONS_SCHEMA

__all__ = ["Captions", "Group", "groups_of", "image_of", "natural", "schema_of"]

_PARTS_IN_MEMORY: Final = 16
_THREADS: Final = 16
_QUESTION: Final = re.compile(r"#q(\d+)$")
_NUMBER: Final = re.compile(r"(\d+)")


@dataclass(frozen=True, kw_only=True)
class Group:
    """What shares a shard's name: a file, or all buckets of a folder of loose images.

    Attributes:
        paths: of the parts with captions of it, sorted.
    """

    name: str
    is_folder: bool
    paths: tuple[str, ...]


def groups_of(records: Iterable[ShardRecord]) -> list[Group]:
    """Sorted by name; shards without captions are left out.

    Raises:
        ConfigError: if parts hold rows that the next run of the job is to take out.
    """
    paths: dict[str, set[str]] = defaultdict(set)
    folders: set[str] = set()
    for record in records:
        if record.withdrawn:
            raise ConfigError(
                f"output: rows of {record.ledger_id} are about to be done again; run the job first"
            )
        paths[record.name] |= {s.path for s in record.shares if not s.in_quarantine}
        folders |= {record.name} if record.ledger_id != record.name else set()
    return [
        Group(name=name, is_folder=name in folders, paths=tuple(sorted(found)))
        for name, found in sorted(paths.items())
        if found
    ]


def image_of(image_id: str, prompt_name: str | None = None) -> str:
    """The id of the image that a caption is of.

    Args:
        image_id, prompt_name: of the caption.
    """
    if prompt_name is not None:
        return image_id.removesuffix(f"#{prompt_name}")
    return _QUESTION.sub("", image_id)


class Captions:
    """Reads groups; the parts read last are kept, since shards that follow each other share them.

    Args:
        schema: of the rows, as `schema_of` tells.
        where: which rows to take.
    """

    def __init__(
        self, sink: Sink, schema: pa.Schema, where: Callable[[pa.Table], pa.Table]
    ) -> None:
        self._part = lru_cache(_PARTS_IN_MEMORY)(sink.read_part)
        self.schema = schema
        self._where = where

    def read(self, group: Group) -> pa.Table:
        """Its captions, each once, by key as people count (2 before 10), then by question.

        Columns that a part lacks are null.
        """
        parts = (self._part(path) for path in group.paths)
        tables = [_fitted(_of(group.name, part), self.schema) for part in parts]
        table = self._where(pa.concat_tables([self.schema.empty_table(), *tables]))
        ids = zip(*(table[c].to_pylist() for c in ("image_id", "prompt_name")), strict=True)
        rows = {each: row for row, each in reversed(list(enumerate(ids)))}
        order = [rows[each] for each in sorted(rows, key=lambda each: natural(*each))]
        return table.take(pa.array(order, type=pa.int64()))


def schema_of(sink: Sink, groups: Iterable[Group]) -> pa.Schema:
    """Every column that any part of `groups` has: versions and runs may have added some."""
    paths = sorted({path for group in groups for path in group.paths})
    with ThreadPoolExecutor(_THREADS) as pool:
        return common_schema([CAPTIONS_SCHEMA, *pool.map(sink.schema, paths)])


def _fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        fit(table[field.name], field.type)[0]
        if field.name in table.column_names
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _of(name: str, part: pa.Table) -> pa.Table:
    return part.filter(pc.equal(part["shard"], name)).replace_schema_metadata(None)


def natural(
    image_id: str, prompt_name: str | None = None
) -> tuple[list[tuple[int, str]], int, str]:
    """What ids are sorted by: numbers in them by value, then questions of one image in turn, or
    prompts by name."""
    question = None if prompt_name else _QUESTION.search(image_id)
    pieces = _NUMBER.split(image_of(image_id, prompt_name))
    numbered = [(int(p[-18:]) if p.isdecimal() else -1, p) for p in pieces]
    return numbered, int(question[1]) if question else -1, image_id
