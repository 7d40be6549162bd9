"""Images by URL, from the table to the row: order, size, failures, and what is asked twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.rows.errors import InputError
from pipeline.sources import (
    ReadOptions,
    Shard,
    StoredRows,
    check_columns,
    list_input,
    read_shard,
)
from pipeline.sources.named.bring import LARGE_BYTES
from pipeline.sources.named.places import Place, place_of
from pipeline.storage.web.fetch_options import FetchOptions
from tests.support.source_files import PROMPT, read_rows
from tests.support.table_cases import LOGO, RED, write_table
from tests.support.web_server import WebServer, web_server

FETCH = FetchOptions(fetch_private=True, fetch_retries=0)


@pytest.fixture
def web() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


def table_of(folder: Path, urls: list[Any]) -> Shard:
    (shard,) = list_input(
        [str(write_table(folder / "t.parquet", url=urls))], storage_options={}
    ).shards
    return shard


def options(**more: Any) -> ReadOptions:
    return ReadOptions(**({"prompt": PROMPT, "fetch": FETCH} | more))


def images(rows: list[dict[str, Any]]) -> list[bytes | str | None]:
    return [row["error_code"] or row["image"] for row in rows]


def test_rows_keep_their_order_and_each_failure_its_row(tmp_path: Path, web: WebServer) -> None:
    (tmp_path / "a.jpg").write_bytes(b"local")
    pages = ["/logo/1", "/good", "/status/404", "/noai", "/loop", "/logo/2", "/status/503"]
    shard = table_of(tmp_path, [*(web.url + page for page in pages), "a.jpg", None])
    codes = ["url_not_found", "url_opted_out", "url_redirects"]
    expected = [LOGO, RED, *codes, LOGO, "url_busy", b"local", "image_missing"]
    rows = read_rows(shard, options())
    assert images(rows) == expected
    assert rows[6]["error_detail"].startswith("HTTP 503")


def test_private_hosts_are_not_asked_for_a_table(tmp_path: Path, web: WebServer) -> None:
    shard = table_of(tmp_path, [web.url + "/good"])
    assert images(read_rows(shard, options(fetch=FetchOptions()))) == ["url_not_allowed"]
    assert not web.asked


def test_large_images_are_fetched_in_their_turn(tmp_path: Path, web: WebServer) -> None:
    """What is over the size that many may have at once, but not over the limit, comes whole."""
    shard = table_of(tmp_path, [web.url + page for page in ("/large", "/good", "/large?2")])
    first, good, last = images(read_rows(shard, options()))
    assert good == RED and first == last and len(first or b"") == len(RED) + 9 * 2**20 > LARGE_BYTES
    small = options(max_image_bytes=9 * 2**20)
    assert images(read_rows(shard, small)) == ["image_too_many_bytes", RED, "image_too_many_bytes"]


def test_what_is_stored_is_not_fetched_again(tmp_path: Path, web: WebServer) -> None:
    shard = table_of(tmp_path, [f"{web.url}/good/{i}" for i in range(3)])
    done = StoredRows(ids={"t.parquet#0", "t.parquet#2"})
    *tables, _ = read_shard(shard, options(), done)
    assert [row["image_id"] for table in tables for row in table.to_pylist()] == ["t.parquet#1"]
    assert set(web.asked) == {"/good/1"}


def test_a_root_on_the_web(tmp_path: Path, web: WebServer) -> None:
    shard = table_of(tmp_path, ["404", "../good", "x/../503", web.url + "/good"])
    expected = ["url_not_found", "path_not_allowed", "url_busy", RED]
    assert images(read_rows(shard, options(image_root=web.url + "/status"))) == expected


def test_a_table_on_the_web_has_its_images_beside_it() -> None:
    place = place_of("img/a b.jpg", "https://host/data/t.csv?sig=x", None)
    assert place == Place("https://host/data/img/a b.jpg", is_web=True)


def test_a_root_that_is_not_there_is_told_before_anything_is_read(tmp_path: Path) -> None:
    shard = table_of(tmp_path, ["a.jpg"])
    check_columns([shard], options(image_root=str(tmp_path)))
    with pytest.raises(InputError, match=r"image_root: .*/gone is not there"):
        check_columns([shard], options(image_root=str(tmp_path / "gone")))
    with pytest.raises(InputError, match="cannot use nosuchprotocol://x"):
        check_columns([shard], options(image_root="nosuchprotocol://x"))
