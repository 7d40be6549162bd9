"""What is stored at once is bounded, by rows and by bytes of images and of what is carried."""

from __future__ import annotations

import pyarrow as pa
import pytest

from pipeline.export import pieces
from pipeline.export.formats.base import Item

NONE = pa.schema([])


def item(image: bytes | None = None, carried: str | None = None, captions: int = 1) -> Item:
    row = {} if carried is None else {"url": pa.array([carried])}
    return Item(name="a", rows=(row,) * captions, image=image)


def sizes(items: list[Item], rows_per_file: int = 100, first: int = 0) -> list[int]:
    found = list(pieces.cut(iter(items), NONE, first, rows_per_file))
    assert [piece.index for piece in found] == list(range(first, first + len(found)))
    return [len(piece.items) for piece in found]


def test_pieces_are_cut_by_rows() -> None:
    assert sizes([item()] * 7, rows_per_file=3) == [3, 3, 1]
    assert sizes([item(captions=2)] * 4, rows_per_file=3) == [2, 2]


def test_pieces_are_cut_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "PIECE_BYTES", 2500)
    assert sizes([item(image=b"x" * 1000)] * 7) == [3, 3, 1]
    assert sizes([item(image=b"x" * 500, captions=2)] * 7) == [3, 3, 1]
    assert sizes([item(carried="x" * 1000)] * 7) == [3, 3, 1]


def test_of_nothing_at_all_there_is_one_piece_and_of_nothing_more_none() -> None:
    assert sizes([]) == [0]
    assert sizes([], first=2) == []
