"""Shards in S3, over HTTP."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs

from pipeline.rows.errors import InputError
from pipeline.sources import ReadOptions, Shard, list_input
from tests.support.bad_images import CASES, GOOD
from tests.support.s3_server import S3Server, s3_server
from tests.support.source_files import PROMPT, add_member, codes, read_rows

IMAGES = {case.name: case.data for case in CASES if case.data}


def parquet_bytes() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"image": list(IMAGES.values())}), sink, row_group_size=5)
    return sink.getvalue()


def arrow_bytes() -> bytes:
    table = pa.table({"image": list(IMAGES.values())})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=5)
    return sink.getvalue()


def tar_bytes(mode: str = "w") -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode=mode) as tar:  # type: ignore[call-overload]
        for name, data in IMAGES.items():
            add_member(tar, f"{name}.jpg", data)
    return sink.getvalue()


@pytest.fixture(scope="module")
def corpus() -> Iterator[S3Server]:
    with s3_server() as server:
        server.put("s3://sources/day/a.parquet", parquet_bytes())
        server.put("s3://sources/day/en/b.tar", tar_bytes())
        server.put("s3://sources/day/en/c.tar.gz", tar_bytes("w:gz"))
        server.put("s3://sources/day/hf/data-0.arrow", arrow_bytes())
        server.put("s3://sources/day/hf/cache-1.arrow", b"")
        state = b'{"_data_files": [{"filename": "data-0.arrow"}]}'
        server.put("s3://sources/day/hf/state.json", state)
        server.put("s3://sources/day/loose/x y#1?.jpg", GOOD)
        server.put("s3://sources/day/.tmp/d.tar", b"")
        for name in ODD:
            server.put(f"s3://sources/odd/[D_DATA]/{name}", GOOD)
        server.put("s3://sources/day/readme.md", b"")
        server.put("s3://sources/daybreak/z.tar", tar_bytes())
        yield server


ODD = ("a::b.jpg", "a#b.jpg", "50%.jpg", "a%20b.jpg", "a b.jpg", "[x].jpg", "é.jpg", "_D.JPG")


def listed(server: S3Server, *inputs: str) -> list[Shard]:
    return list(list_input(inputs, storage_options=server.storage_options).shards)


@pytest.mark.parametrize("prefix", ["s3://sources/day", "s3://sources/day/"])
def test_prefix(corpus: S3Server, prefix: str) -> None:
    shards = listed(corpus, prefix)
    assert [(shard.name, shard.format) for shard in shards] == [
        ("a.parquet", "parquet"),
        ("en/b.tar", "webdataset"),
        ("en/c.tar.gz", "webdataset"),
        ("hf/data-0.arrow", "arrow"),
        ("loose/", "images"),
    ]
    assert shards[0].url == "s3://sources/day/a.parquet"
    assert shards[0].size_bytes == len(parquet_bytes())


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("s3://sources/day/*/*.tar", ["en/b.tar"]),
        ("s3://sources/day/**/*.tar*", ["en/b.tar", "en/c.tar.gz"]),
        ("s3://sources/day*/*.tar", ["daybreak/z.tar"]),
        ("s3://sources/day/en/b.tar", ["b.tar"]),
    ],
)
def test_glob(corpus: S3Server, pattern: str, names: list[str]) -> None:
    assert [shard.name for shard in listed(corpus, pattern)] == names


def test_several_inputs(corpus: S3Server) -> None:
    shards = listed(corpus, "s3://sources/day/en", "s3://sources/daybreak/*.tar")
    names = ["day/en/b.tar", "day/en/c.tar.gz", "daybreak/z.tar"]
    assert [shard.name for shard in shards] == names


@pytest.mark.parametrize("name", ["a.parquet", "en/b.tar", "en/c.tar.gz", "hf/data-0.arrow"])
def test_read(corpus: S3Server, name: str) -> None:
    (shard,) = [each for each in listed(corpus, "s3://sources/day") if each.name == name]
    options = ReadOptions(prompt=PROMPT, storage_options=corpus.storage_options)
    assert [row["image"] for row in read_rows(shard, options)] == list(IMAGES.values())


def test_read_loose_images(corpus: S3Server) -> None:
    (shard,) = listed(corpus, "s3://sources/day/loose")
    options = ReadOptions(prompt=PROMPT, storage_options=corpus.storage_options)
    assert codes(read_rows(shard, options)) == {"x y#1?.jpg": None}


@pytest.mark.parametrize(
    "url", ["s3://sources/odd", "s3://sources/odd/[D_DATA]/*", "s3://sources/odd/[D_DATA]/**"]
)
def test_odd_names(corpus: S3Server, url: str) -> None:
    options = ReadOptions(prompt=PROMPT, storage_options=corpus.storage_options)
    found = [row for shard in listed(corpus, url) for row in read_rows(shard, options)]
    folder = "[D_DATA]/" if url.endswith("odd") else ""
    assert codes(found) == {f"{folder}{name}": None for name in ODD}


def test_an_object_that_is_gone_is_a_row(corpus: S3Server) -> None:
    corpus.put("s3://sources/fading/a.jpg", GOOD)
    corpus.put("s3://sources/fading/b.tar", tar_bytes())
    shards = listed(corpus, "s3://sources/fading")
    fs = corpus.filesystem()
    fs.rm(["sources/fading/a.jpg", "sources/fading/b.tar"])
    options = ReadOptions(prompt=PROMPT, storage_options=corpus.storage_options)
    found = [row for shard in shards for row in read_rows(shard, options)]
    assert codes(found) == {"a.jpg": "file_not_found", "b.tar#!gone": "file_not_found"}


def test_what_is_passed_over_is_counted(corpus: S3Server) -> None:
    listing = list_input(["s3://sources/day"], storage_options=corpus.storage_options)
    assert listing.passed_over == {"cache of a dataset": 1, "hidden": 1, "readme.md": 1}


def test_braces(corpus: S3Server) -> None:
    names = [shard.name for shard in listed(corpus, "s3://sources/day/en/{b.tar,c.tar.gz}")]
    assert names == ["b.tar", "c.tar.gz"]


def test_buckets_cannot_be_globbed(corpus: S3Server) -> None:
    with pytest.raises(InputError, match=r"cannot list s3://source\*/day: Cannot traverse"):
        listed(corpus, "s3://source*/day")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("s3://sources/gone.tar", "nothing matches"),
        ("s3://gone-bucket/*.tar", "there is no bucket 'gone-bucket'"),
        ("s3://gone/", "there is no bucket 'gone'"),
    ],
)
def test_nothing_there(corpus: S3Server, url: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        listed(corpus, url)


def test_new_files_are_seen(corpus: S3Server) -> None:
    corpus.put("s3://nightly/1.tar", b"")
    assert [shard.name for shard in listed(corpus, "s3://nightly/*")] == ["1.tar"]
    # Another client than the one that lists, as another machine would be.
    writer = s3fs.S3FileSystem(**corpus.storage_options, use_listings_cache=False)
    writer.pipe_file("s3://nightly/2.tar", b"")
    assert [shard.name for shard in listed(corpus, "s3://nightly/*")] == ["1.tar", "2.tar"]
