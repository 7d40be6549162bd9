"""Shards whose every row is known: small real images, some broken, the same on every run."""

from __future__ import annotations

import io
import json
import random
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from tests.support.bad_images import CASES, OK

Format = Literal["parquet", "webdataset"]
ENDING: dict[Format, str] = {"parquet": "parquet", "webdataset": "tar"}
BROKEN = [case for case in CASES if case.expected != OK]
BROKEN_SHARE = 0.015
REPEATED_SHARE = 0.05
DOUBLED_SHARE = 0.4
"""Where duplicates are the matter: of any shard before."""
TINY = (8, 8)


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Where the shards lie, and how each row must end.

    Attributes:
        ends: "ok" or the error code, by `image_id`.
        num_distinct: images among those that are ok.
    """

    url: str
    ends: Mapping[str, str]
    num_distinct: int = 0

    @property
    def num_ok(self) -> int:
        return sum(end == OK for end in self.ends.values())


@dataclass(frozen=True)
class _Row:
    data: bytes
    suffix: str
    end: str = OK


def write_corpus(
    url: str,
    fmt: Format,
    *,
    num_rows: int,
    num_shards: int,
    seed: int,
    tiny: bool = False,
    doubled: bool = False,
    **storage_options: Any,
) -> Corpus:
    """Writes `num_rows` rows below `url`, in shards of uneven size.

    The last shard is no file of its format at all: it counts as one row. About 1.5 % of the other
    rows are broken, and about 5 % repeat an image of the same shard.

    Args:
        tiny: images of a few pixels and none broken, where images are beside the point.
        doubled: about 40 % of the rows repeat one of any shard before, broken ones among them.
    """
    filesystem, root = fsspec.core.url_to_fs(url, **storage_options)
    filesystem.makedirs(root, exist_ok=True)
    ends: dict[str, str] = {}
    seen: list[_Row] = []
    distinct: set[bytes] = set()
    for index, size in enumerate(_shard_sizes(num_rows - 1, num_shards - 1, seed)):
        name = f"shard-{index:04d}.{ENDING[fmt]}"
        rng = random.Random(f"{seed}-{index}")
        rows = list(_rows(size, rng, tiny))
        rows = list(_doubled(rows, rng, seen)) if doubled else rows
        distinct.update(row.data for row in rows if row.end == OK)
        filesystem.pipe_file(f"{root}/{name}", _ENCODERS[fmt](rows))
        ends |= {f"{name}#{_key(fmt, i)}": row.end for i, row in enumerate(rows)}
    broken = f"shard-{num_shards - 1:04d}.{ENDING[fmt]}"
    filesystem.pipe_file(f"{root}/{broken}", b"no shard at all\n" * 64)
    ends[f"{broken}#!corrupt"] = "shard_corrupt"
    return Corpus(url=url, ends=ends, num_distinct=len(distinct))


def _shard_sizes(num_rows: int, num_shards: int, seed: int) -> list[int]:
    """Uneven and none empty: cuts at random places."""
    cuts = sorted(random.Random(seed).sample(range(1, num_rows), num_shards - 1))
    return [end - start for start, end in zip([0, *cuts], [*cuts, num_rows], strict=True)]


def _rows(count: int, rng: random.Random, tiny: bool) -> Iterator[_Row]:
    seen: list[_Row] = []
    for _ in range(count):
        draw = 1.0 if tiny else rng.random()
        if draw < BROKEN_SHARE:
            case = rng.choice(BROKEN)
            yield _Row(case.data, case.suffix, case.expected)
        elif draw < BROKEN_SHARE + REPEATED_SHARE and seen:
            yield rng.choice(seen)
        else:
            seen.append(_image(rng, tiny))
            yield seen[-1]


def _doubled(rows: list[_Row], rng: random.Random, seen: list[_Row]) -> Iterator[_Row]:
    """The rows, some of them replaced by what is in `seen`, to which the others are added."""
    for row in rows:
        if seen and rng.random() < DOUBLED_SHARE:
            yield rng.choice(seen)
        else:
            seen.append(row)
            yield row


def _image(rng: random.Random, tiny: bool) -> _Row:
    # Most fit the smallest grid: the vision tower is what takes the time.
    low, high = (60, 110) if rng.random() < 0.9 else (150, 300)
    size = TINY if tiny else (rng.randint(low, high), rng.randint(low, high))
    image = Image.new("RGB", size, _colour(rng))
    draw = ImageDraw.Draw(image)
    for _ in range(0 if tiny else rng.randint(3, 8)):
        x, y = rng.randrange(size[0]), rng.randrange(size[1])
        box = (x, y, x + rng.randint(10, 120), y + rng.randint(10, 120))
        rng.choice((draw.ellipse, draw.rectangle))(box, fill=_colour(rng))
    suffix, fmt = rng.choice(((".jpg", "JPEG"), (".jpeg", "JPEG"), (".png", "PNG")))
    buffer = io.BytesIO()
    image.save(buffer, "PNG" if tiny else fmt)
    return _Row(buffer.getvalue(), ".png" if tiny else suffix)


def _colour(rng: random.Random) -> tuple[int, int, int]:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)


def _key(fmt: Format, index: int) -> str:
    return str(index) if fmt == "parquet" else f"{index:06d}"


def _parquet(rows: list[_Row]) -> bytes:
    buffer = io.BytesIO()
    columns = {"image": [row.data for row in rows], "seen": list(range(len(rows)))}
    pq.write_table(pa.table(columns), buffer, row_group_size=64)
    return buffer.getvalue()


def _webdataset(rows: list[_Row]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for index, row in enumerate(rows):
            member = tarfile.TarInfo(_key("webdataset", index) + row.suffix)
            member.size = len(row.data)
            tar.addfile(member, io.BytesIO(row.data))
            beside = json.dumps({"seen": index}).encode()
            member = tarfile.TarInfo(_key("webdataset", index) + ".json")
            member.size = len(beside)
            tar.addfile(member, io.BytesIO(beside))
    return buffer.getvalue()


_ENCODERS = {"parquet": _parquet, "webdataset": _webdataset}
