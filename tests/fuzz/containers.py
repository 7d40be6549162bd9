"""What is damaged by the fuzz: containers of images, each kind with an independent reader of keys.

Kinds of one family are in a file of their own: `tests.fuzz.tars`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["PARQUET", "Container"]


@dataclass(frozen=True, kw_only=True)
class Container:
    """One way of storing images.

    Attributes:
        ending: of a file's name.
        pack: bytes of the file, of images by five-digit key.
        keys: of rows that the file still has for a reader that knows nothing of this project's,
            whatever is damaged; rows beyond them are nobody's promise.
    """

    name: str
    ending: str
    pack: Callable[[Mapping[str, bytes]], bytes]
    keys: Callable[[bytes], Set[str]]


def _packed(images: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    column = pa.array(list(images.values()), pa.binary())
    pq.write_table(pa.table({"id": list(images), "image": column}), buffer)
    return buffer.getvalue()


def _keys(data: bytes) -> Set[str]:
    """All or none: the image column has to be read, too."""
    try:
        return set(pq.read_table(io.BytesIO(data), columns=["id", "image"])["id"].to_pylist())
    except Exception:  # Not to be read by another reader: no row is promised.
        return set()


PARQUET = Container(name="parquet", ending="parquet", pack=_packed, keys=_keys)
