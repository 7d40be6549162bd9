"""Two outputs on the same images: how many texts differ, and where, word by word.

Rows are joined by DuckDB in a file of its own, so that memory does not grow with them. Words are
compared in Python, of a number of pairs drawn at random.
"""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.report.reading.parts_read import Batch, Parts, Place

__all__ = ["Comparison", "Pair", "Word", "compare", "words_of"]

_DRAWN: Final = 2000
"""Pairs whose words are compared."""
_WORDS: Final = 400
"""Of one text; what follows is not compared."""
_MEMORY: Final = "512MB"

_SCHEMA: Final = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field("text", pa.string()),
        pa.field("kept", pa.int64()),
        pa.field("tokens", pa.int64()),
        pa.field("path", pa.string()),
        pa.field("position", pa.int64()),
    ]
)
_COLUMNS: Final = (*("image_id", "prompt_name", "text", "visual_tokens_kept", "output_tokens"),)


@dataclass(frozen=True)
class Word:
    """A word of a text, and whether the other text has another in its place."""

    text: str
    changed: bool


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One caption in both outputs.

    Attributes:
        change: 0 where the texts have the same words, 1 where they have none in common.
        places: of its rows in the two outputs.
    """

    id: str
    change: float
    words: tuple[tuple[Word, ...], tuple[Word, ...]]
    places: tuple[Place, Place]


@dataclass
class Comparison:
    """Of a first and a second output.

    Attributes:
        joined, same: captions of both, and those whose texts are equal.
        alone: captions that only the first has, and that only the second has.
        kept, tokens: mean visual tokens and output tokens of the joined captions, in each.
        looked_at: pairs of different texts whose words were compared.
        changes: of all of these; `pairs` are those to show, the most changed first.
    """

    joined: int = 0
    same: int = 0
    alone: tuple[int, int] = (0, 0)
    kept: tuple[float | None, float | None] = (None, None)
    tokens: tuple[float | None, float | None] = (None, None)
    looked_at: int = 0
    changes: list[float] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)


def compare(first: Parts, second: Parts, *, examples: int, seed: int) -> Comparison:
    """Joins captions by image and question, and by the prompt's name where prompts have names.

    Of the pairs to show half are those that changed most, the others lie evenly between them and
    those that changed least.
    """
    with tempfile.TemporaryDirectory(prefix="hired-report-") as folder:
        config: dict[str, Any] = {
            "memory_limit": _MEMORY,
            "threads": "1",
            "temp_directory": folder,
            "preserve_insertion_order": "false",
        }
        with duckdb.connect(str(Path(folder) / "join.duckdb"), config=config) as connection:
            for name, parts in (("a", first), ("b", second)):
                _load(connection, name, parts)
            found = _counted(connection)
            rows = _drawn(connection, seed)
    pairs = sorted(map(_pair, rows), key=lambda pair: (-pair.change, pair.id))
    found.looked_at = len(pairs)
    found.changes = [pair.change for pair in pairs]
    found.pairs = _shown(pairs, examples)
    return found


def words_of(first: str, second: str) -> tuple[float, tuple[Word, ...], tuple[Word, ...]]:
    """How much changed, and both texts as words, those marked that the other has not in place."""
    both = [text.split()[:_WORDS] for text in (first, second)]
    matcher = difflib.SequenceMatcher(None, both[0], both[1], autojunk=False)
    marked = [[True] * len(words) for words in both]
    for block in matcher.get_matching_blocks():
        for words, start in zip(marked, (block.a, block.b), strict=True):
            words[start : start + block.size] = [False] * block.size
    told = [tuple(map(Word, words, marks)) for words, marks in zip(both, marked, strict=True)]
    return 1 - matcher.ratio(), told[0], told[1]


def _load(connection: duckdb.DuckDBPyConnection, name: str, parts: Parts) -> None:
    """Captions as a table; of several with one id the first is taken."""
    reader = pa.RecordBatchReader.from_batches(_SCHEMA, _batches(parts))
    connection.register("reading", reader)
    connection.execute(f"create table every_{name} as select * from reading")
    connection.unregister("reading")
    connection.execute(
        f"create table {name} as select id, "
        "arg_min(struct_pack(text, kept, tokens, path, position), (path, position)) as row"
        f" from every_{name} group by id"
    )
    connection.execute(f"drop table every_{name}")


def _batches(parts: Parts) -> Iterator[pa.RecordBatch]:
    for batch in parts.batches("captions", _COLUMNS):
        rows = batch.table.num_rows
        counts = (batch.column(n, pa.int64()) for n in ("visual_tokens_kept", "output_tokens"))
        columns = [
            _ids(batch),
            batch.valid("text"),
            *(column.combine_chunks() for column in counts),
            pa.array([batch.path] * rows, pa.string()),
            pa.array(range(batch.first, batch.first + rows), pa.int64()),
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=_SCHEMA)


def _ids(batch: Batch) -> pa.Array:
    """What a caption is joined by: its id, and its prompt's name where that has one."""
    ids, names = (pc.fill_null(batch.valid(n), "") for n in ("image_id", "prompt_name"))
    named = pc.binary_join_element_wise(ids, names, "\n")
    return pc.if_else(pc.equal(names, ""), ids, named)


_JOINED: Final = "a join b using (id)"
_SAME: Final = "a.row.text is not distinct from b.row.text"


def _counted(connection: duckdb.DuckDBPyConnection) -> Comparison:
    means = ", ".join(f"avg({side}.row.{what})" for what in ("kept", "tokens") for side in "ab")
    row = connection.execute(
        f"select count(*), count(*) filter ({_SAME}), {means} from {_JOINED}"
    ).fetchone()
    sizes = connection.execute(
        "select (select count(*) from a), (select count(*) from b)"
    ).fetchone()
    assert row is not None and sizes is not None, "aggregates have a row"
    joined, same, *rest = row
    return Comparison(
        joined=joined,
        same=same,
        alone=(sizes[0] - joined, sizes[1] - joined),
        kept=(rest[0], rest[1]),
        tokens=(rest[2], rest[3]),
    )


def _drawn(connection: duckdb.DuckDBPyConnection, seed: int) -> list[tuple[Any, ...]]:
    """Of the pairs whose texts differ, as many as are compared; the same for the same seed."""
    sides = ", ".join(f"{s}.row.text, {s}.row.path, {s}.row.position" for s in "ab")
    return connection.execute(
        f"select id, {sides} from {_JOINED} where not ({_SAME})"
        f" order by md5(concat(id, '/', ?::varchar)), id limit {_DRAWN}",
        [str(seed)],
    ).fetchall()


def _pair(row: Sequence[Any]) -> Pair:
    pair_id, text, path, position, other_text, other_path, other_position = row
    change, words, other_words = words_of(text or "", other_text or "")
    places = ((path, position), (other_path, other_position))
    return Pair(id=pair_id or "", change=change, words=(words, other_words), places=places)


def _shown(pairs: Sequence[Pair], most: int) -> list[Pair]:
    """Of pairs sorted by change."""
    half = min(len(pairs), (most + 1) // 2)
    rest, left = pairs[half:], most - half
    if len(rest) <= left:
        return list(pairs)
    step = len(rest) / max(1, left)
    return [*pairs[:half], *(rest[int((i + 1) * step) - 1] for i in range(left))]
