"""Images with their captions cut into pieces, and these stored one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pyarrow as pa

from pipeline.export.formats.base import File, Format, Item, Link, Piece
from pipeline.export.journal import Journal
from pipeline.storage.store import Store

__all__ = ["PIECE_BYTES", "cut", "store_pieces"]

PIECE_BYTES: Final = 256 * 1024**2
"""Of images and carried values; the files of a piece are in memory when they are stored."""

_THREADS: Final = 16


def cut(
    items: Iterator[Item], schema: pa.Schema, first: int, rows_per_file: int
) -> Iterator[Piece]:
    """Cut where there are enough rows or bytes; an image's captions stay together. Of no image at
    all one empty piece: its file says which columns there would be."""
    mine: list[Item] = []
    num_rows = num_bytes = 0
    index = first
    for item in items:
        mine.append(item)
        num_rows += len(item.rows)
        num_bytes += _bytes_of(item)
        if num_rows >= rows_per_file or num_bytes >= PIECE_BYTES:
            yield Piece(index=index, items=tuple(mine), schema=schema)
            mine, num_rows, num_bytes, index = [], 0, 0, index + 1
    if mine or not index:
        yield Piece(index=index, items=tuple(mine), schema=schema)


def _bytes_of(item: Item) -> int:
    """At most: some formats hold the image once for each caption."""
    added = (value for row in item.rows for value in row.values() if isinstance(value, pa.Array))
    return len(item.image or b"") * len(item.rows) + sum(int(value.nbytes) for value in added)


def store_pieces(pieces: Iterator[Piece], form: Format, journal: Journal) -> None:
    """Piece by piece, the journal behind each."""
    is_first = True
    with ThreadPoolExecutor(_THREADS) as pool:
        for piece in pieces:
            files = list(form.files(piece))
            list(pool.map(lambda file: _put(journal.store, file), files))
            if is_first:
                _remove_half_written(journal.store, [name for name, _ in files])
            is_first = False
            journal.pieces += 1
            journal.items += len(piece.items)
            journal.rows += sum(len(item.rows) for item in piece.items)
            journal.save()
        last = list(form.closing())
        list(pool.map(lambda file: _put(journal.store, file), last))
        _remove_half_written(journal.store, [name for name, _ in last])
    journal.complete = True
    journal.save()


def _put(store: Store, file: File) -> None:
    name, content = file
    if isinstance(content, Link):
        store.link(name, content.path)
    else:
        store.put(name, content)


def _remove_half_written(store: Store, names: Sequence[str]) -> None:
    """What an attempt that was killed left of the files that are there now."""
    for folder in {name.rpartition("/")[0] for name in names} | {"_export"}:
        for name in store.half_written(folder):
            store.remove(name)
