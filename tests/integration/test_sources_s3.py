"""Shards in S3, over HTTP."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs

from pipeline.rows.errors import InputError, StorageError
from pipeline.sources import ReadOptions, Shard, list_input, read_shard
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
        server.put("s3://sources/day/_tmp/d.tar", b"")
        server.put("s3://sources/day/readme.md", b"")
        server.put("s3://sources/daybreak/z.tar", tar_bytes())
        yield server


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
        ("loose", "images"),
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


def test_buckets_cannot_be_globbed(corpus: S3Server) -> None:
    with pytest.raises(InputError, match=r"cannot list s3://source\*/day: Cannot traverse"):
        listed(corpus, "s3://source*/day")


@pytest.mark.parametrize("url", ["s3://sources/gone.tar", "s3://gone-bucket/*.tar", "s3://gone/"])
def test_nothing_there(corpus: S3Server, url: str) -> None:
    with pytest.raises(InputError, match="nothing matches"):
        listed(corpus, url)


def test_gone_since_it_was_listed(corpus: S3Server) -> None:
    shard = Shard(url="s3://sources/gone.tar", name="gone.tar", format="webdataset")
    options = ReadOptions(prompt=PROMPT, storage_options=corpus.storage_options)
    with pytest.raises(StorageError, match=r"cannot open s3://sources/gone\.tar"):
        list(read_shard(shard, options))


def test_new_files_are_seen(corpus: S3Server) -> None:
    corpus.put("s3://nightly/1.tar", b"")
    assert [shard.name for shard in listed(corpus, "s3://nightly/*")] == ["1.tar"]
    # Another client than the one that lists, as another machine would be.
    writer = s3fs.S3FileSystem(**corpus.storage_options, use_listings_cache=False)
    writer.pipe_file("s3://nightly/2.tar", b"")
    assert [shard.name for shard in listed(corpus, "s3://nightly/*")] == ["1.tar", "2.tar"]
