"""The whole job with input and output on a storage service on a bad night."""

from __future__ import annotations

import io
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.rows.errors import EXIT_DONE
from tests.integration.job import caption
from tests.integration.test_caption_job import images
from tests.support.fault_proxy import fault_proxy
from tests.support.s3_server import S3Server, s3

pytestmark = pytest.mark.usefixtures("cluster")
__all__ = ["s3"]

IMAGES_PER_SHARD = 2
NUM_SHARDS = 6


def tar_of(pictures: list[bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for index, data in enumerate(pictures):
            member = tarfile.TarInfo(f"{index}.png")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def parquet_of(pictures: list[bytes]) -> bytes:
    buffer = io.BytesIO()
    table = pa.table({"image": pa.array(pictures, pa.binary())})
    pq.write_table(table, buffer, row_group_size=1)
    return buffer.getvalue()


def store_shards(server: S3Server) -> set[str]:
    """Tars and Parquet files, by turns; returns the ids of their rows."""
    pictures = images(IMAGES_PER_SHARD)
    ids: set[str] = set()
    for index in range(NUM_SHARDS):
        suffix, data = ("tar", tar_of) if index % 2 else ("parquet", parquet_of)
        server.put(f"s3://bad-night/in/{index}/shard.{suffix}", data(pictures))
        ids |= {f"{index}/shard.{suffix}#{row}" for row in range(IMAGES_PER_SHARD)}
    return ids


def test_a_job_completes_when_one_in_ten_requests_fails(
    s3: S3Server, record_property: pytest.RecordProperty
) -> None:
    ids = store_shards(s3)
    # s3fs asks five times, botocore told so once: to go on after six failures is up to the job.
    with fault_proxy(s3, 0.1, burst=6, seed=3) as proxy:
        impatient = {"config_kwargs": {"retries": {"total_max_attempts": 1}}}
        options = {**S3Server(proxy.url).storage_options, **impatient}
        result = caption(
            ["s3://bad-night/in"], "s3://bad-night/out", "--rows-per-part", "2", **options
        )
    assert result.exit_code == EXIT_DONE
    assert sorted(row["image_id"] for row in result.captions) == sorted(ids)
    assert result.quarantine == []
    assert result.report["rows"] == len(ids)
    counts = {f"{operation} {fault}": n for (operation, fault), n in sorted(proxy.faults.items())}
    record_property("requests", dict(proxy.requests))
    record_property("faults", counts)
    print(f"{dict(proxy.requests)} requests, spoiled: {counts}")
    for operation in ("read", "write", "list"):
        assert proxy.spoiled(operation) >= 6, counts
