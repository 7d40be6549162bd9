"""Datasets of the Hub by name, from a server that answers as the Hub does; the Hub is not asked."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.rows.errors import InputError
from pipeline.sources import ReadOptions, list_input
from pipeline.sources.named.hub_dataset import hub_folders
from tests.support.hub_server import HubServer, hub_server
from tests.support.source_files import PROMPT, read_rows
from tests.support.table_cases import LOGO, RED, structs

BASE = "hf://datasets/me/pics@refs%2Fconvert%2Fparquet"


def parquet(*images: bytes) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"image": structs(*((image, "x.jpg") for image in images))}), out)
    return out.getvalue()


def converted(*folders: str) -> dict[str, dict[str, bytes]]:
    """A repository whose branch has two files in each of these folders."""
    files = {f"{f}/{i:04}.parquet": parquet(RED, LOGO) for f in folders for i in range(2)}
    return {"main": {"README.md": b"x"}, "refs/convert/parquet": files | {".gitattributes": b""}}


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    datasets = {
        "me/pics": converted("default/train", "default/test"),
        "me/many": converted("en/train", "de/train", "de/test"),
        "me/plain": converted("plain_text/all"),
        "me/huge": converted("default/partial-train", "default/test"),
        "me/unread": {"main": {"a.tar": b""}},
    }
    with hub_server(datasets) as server:
        yield server


@pytest.mark.parametrize(
    ("name", "folders"),
    [
        ("me/pics", ["default/test", "default/train"]),
        ("me/pics:default", ["default/test", "default/train"]),
        ("me/pics:default:train", ["default/train"]),
        ("me/many:de", ["de/test", "de/train"]),
        ("me/many:en:train", ["en/train"]),
        ("me/plain", ["plain_text/all"]),
        ("me/huge:default:test", ["default/test"]),
    ],
)
def test_configurations_and_splits(hub: HubServer, name: str, folders: list[str]) -> None:
    found = hub_folders(f"hf-dataset:{name}", hub.storage_options)
    assert [url.partition("@refs%2Fconvert%2Fparquet/")[2] for url in found] == folders


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("me/pics:other", "no configuration 'other'; there are default: hf-dataset:OWNER/NAME"),
        ("me/pics:default:valid", "no split 'valid'; there are test, train"),
        ("me/many", "several configurations; there are de, en"),
        ("me/none", "the Hub has no such dataset as Parquet, or not for this token"),
        ("me/unread", "its own files are at hf://datasets/me/unread"),
        ("me/huge", "only the first part of 'train' as Parquet; give its own files"),
        ("me/huge:default:train", "only the first part of 'train' as Parquet"),
        ("pics", r"wanted hf-dataset:OWNER/NAME\[:CONFIG\[:SPLIT\]\]"),
        ("me/pics:", "wanted hf-dataset:"),
        ("me/pics:a:b:c", "wanted hf-dataset:"),
        ("me/pics:../x", "wanted hf-dataset:"),
    ],
)
def test_what_is_not_there_is_told(hub: HubServer, name: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        hub_folders(f"hf-dataset:{name}", hub.storage_options)


def test_rows_of_a_dataset(hub: HubServer) -> None:
    listing = list_input(["hf-dataset:me/pics"], storage_options=hub.storage_options)
    assert [shard.name for shard in listing.shards] == [
        *("test/0000.parquet", "test/0001.parquet", "train/0000.parquet", "train/0001.parquet")
    ]
    assert all(shard.url.startswith(f"{BASE}/default/") for shard in listing.shards)
    assert all("f" * 40 in shard.signature for shard in listing.shards)
    options = ReadOptions(prompt=PROMPT, storage_options=hub.storage_options)
    rows = read_rows(listing.shards[2], options)
    assert [row["image"] for row in rows] == [RED, LOGO]
    assert rows[0]["image_id"] == "train/0000.parquet#0"


def test_a_token_is_read_for_each_request(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One that is replaced while a job runs is the one that is sent."""
    try:
        for token in ("hf_first", "hf_second"):
            hub.token = token
            monkeypatch.setenv("HF_TOKEN", token)
            folders = hub_folders("hf-dataset:me/plain", hub.storage_options)
            (first, _) = list_input(folders, storage_options=hub.storage_options).shards
            options = ReadOptions(prompt=PROMPT, storage_options=hub.storage_options)
            assert len(read_rows(first, options)) == 2
    finally:
        hub.token = None
