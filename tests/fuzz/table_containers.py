"""Damaged tables that name or list images: Parquet, CSV, TSV and JSON lines, gzipped among them.

What must be there after the damage is told by independent readers: pyarrow's own, and for lines of
text whether a line is there as it was written.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from tests.fuzz.mutations import mutated
from tests.support.table_cases import IMAGE

__all__ = [
    "KINDS",
    "PICTURES",
    "has_no_rows",
    "keys_left",
    "packed_table",
    "write_damaged_tables",
    "write_pictures",
]

PICTURES: Final = "pictures"
"""Folder of the images that tables name."""

_Images = Mapping[str, bytes]


def write_pictures(folder: Path, images: _Images) -> None:
    """The files that the tables of this folder name."""
    (folder / PICTURES).mkdir(parents=True, exist_ok=True)
    for key, data in images.items():
        (folder / PICTURES / f"{key}.jpg").write_bytes(data)


def write_damaged_tables(folder: Path, images: _Images, count: int, rng: random.Random) -> set[str]:
    """Tables `tables-000.csv` and so on; returns ids of the rows that can still be read."""
    write_pictures(folder, images)
    ids: set[str] = set()
    for index in range(count):
        kind = rng.choice(sorted(KINDS))
        data = mutated(packed_table(kind, images), rng)
        name = f"tables-{index:03}.{kind}"
        (folder / name).write_bytes(data)
        ids |= {f"{name}#{key}" for key in keys_left(kind, data, images)}
    return ids


def packed_table(kind: str, images: _Images) -> bytes:
    """A sound table of this kind, with a column `id`."""
    return KINDS[kind](images)


def keys_left(kind: str, data: bytes, images: _Images) -> set[str]:
    """Keys of the rows that must be found in what damage left of the table."""
    if kind.endswith("parquet"):
        return _keys_of_parquet(data)
    whole = packed_table(kind, images)
    if kind.endswith(".gz"):
        try:
            data, whole = gzip.decompress(data), gzip.decompress(whole)
        except Exception:  # What comes after the damage is not promised.
            return set()
    lines, left = whole.splitlines(keepends=True), data.splitlines(keepends=True)
    is_csv = not kind.startswith("jsonl")
    # A first line that is another names other columns; two new quotes may close each other.
    if left[:1] != lines[:1] or (is_csv and data.count(b'"') > 1) or b"\r" in data:
        return set()
    return {key for key, line in zip(images, lines[is_csv:], strict=True) if line in left}


def has_no_rows(path: Path) -> bool:
    """Whether damage left of a manifest its header at the most: nothing can be told of its rows."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        return False
    least = 1 if path.suffix == ".jsonl" else 2
    is_text = path.suffix in (".csv", ".tsv", ".jsonl")
    return is_text and sum(bool(line.strip()) for line in data.splitlines()) < least


def _paths(images: _Images) -> list[str]:
    return [f"{PICTURES}/{key}.jpg" for key in images]


def _structs(images: _Images) -> bytes:
    """Every second image by its path, the others by their bytes."""
    pairs = zip(images.values(), _paths(images), strict=True)
    values = [{"bytes": d if i % 2 else None, "path": p} for i, (d, p) in enumerate(pairs)]
    return _parquet(images, pa.array(values, IMAGE))


def _lists(images: _Images) -> bytes:
    """Each image once by its bytes and once by its path."""
    pairs = zip(images.values(), _paths(images), strict=True)
    both = [[{"bytes": d, "path": p}, {"bytes": None, "path": p}] for d, p in pairs]
    return _parquet(images, pa.array(both, pa.list_(IMAGE)))


def _dictionary(images: _Images) -> bytes:
    return _parquet(images, pa.array(_paths(images)).dictionary_encode())


def _parquet(images: _Images, column: pa.Array) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"id": list(images), "image": column}), out)
    return out.getvalue()


def _separated(delimiter: str) -> Callable[[_Images], bytes]:
    def packed(images: _Images) -> bytes:
        out = io.StringIO()
        writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
        writer.writerow(["id", "image", "alt"])
        for key, path in zip(images, _paths(images), strict=True):
            writer.writerow([key, path, f"picture {key}"])
        return out.getvalue().encode()

    return packed


def _lines(images: _Images) -> bytes:
    rows = zip(images, _paths(images), strict=True)
    return "".join(json.dumps({"id": k, "image": p}) + "\n" for k, p in rows).encode()


def _keys_of_parquet(data: bytes) -> set[str]:
    """All or none: a list's images each have a key."""
    try:
        table = pq.read_table(io.BytesIO(data), columns=["id", "image"])
        rows = zip(table["id"].to_pylist(), table["image"].to_pylist(), strict=True)
        keys: set[str] = set()
        for key, image in rows:
            marks = [f"#img{i}" for i in range(len(image))] if isinstance(image, list) else [""]
            keys |= {f"{key}{mark}" for mark in marks}
        return {key for key in keys if key[:5].isdigit()}
    except Exception:  # Not to be read by another reader: no row is promised.
        return set()


KINDS: Final[dict[str, Callable[[_Images], bytes]]] = {
    "structs.parquet": _structs,
    "lists.parquet": _lists,
    "dictionary.parquet": _dictionary,
    "csv": _separated(","),
    "tsv": _separated("\t"),
    "jsonl": _lines,
    "csv.gz": lambda images: gzip.compress(_separated(",")(images), mtime=0),
    "jsonl.gz": lambda images: gzip.compress(_lines(images), mtime=0),
}
"""By the ending of its name."""
