"""Pages of a real server, good and bad, through the client that tables' URLs go through."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from hired_core.errors import SettingError
from pipeline.rows.errors import PASSING_CODES, ROW_ERROR_CODES
from pipeline.storage.bounded import TooLarge, Unreadable
from pipeline.storage.web.fetch_options import FetchOptions
from pipeline.storage.web.manners import HostTurns, opts_out, retry_after_sec
from pipeline.storage.web.web_client import WebClient
from tests.support.table_cases import LOGO, RED
from tests.support.web_server import WebServer, web_server

MAX_BYTES = 1024 * 1024


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    with web_server() as server:
        yield server


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Callable[..., WebClient]]:
    """Makes clients that may ask this machine, and whose turns are their own."""
    with contextlib.ExitStack() as stack:

        def make(**settings: Any) -> WebClient:
            options = FetchOptions(**({"fetch_private": True, "fetch_retries": 0} | settings))
            made = WebClient(options, HostTurns(options.fetch_per_host, tmp_path / "turns"))
            stack.callback(made.close)
            return made

        yield make


def fetch(client: WebClient, url: str, max_bytes: int = MAX_BYTES) -> bytes | str | TooLarge:
    """The bytes, or the code of what went wrong."""
    found = client.begin(url, max_bytes).result(timeout=30)
    if isinstance(found, Unreadable):
        assert found.code in ROW_ERROR_CODES and found.detail
        return found.code
    return found


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/good.jpg", RED),
        ("/good.jpg?size=large&sig=a%2Fb", RED),
        ("/html.jpg", b"<html>log in</html>"),
        ("/status/404", "url_not_found"),
        ("/status/410", "url_not_found"),
        ("/status/401", "url_refused"),
        ("/status/403", "url_refused"),
        ("/status/451", "url_refused"),
        ("/status/429", "url_busy"),
        ("/status/503", "url_busy"),
        ("/status/500", "url_server_error"),
        ("/hop/4", RED),
        ("/hop/5", "url_redirects"),
        ("/loop", "url_redirects"),
        ("/nowhere", "url_redirects"),
        ("/away?file:///etc/passwd", "url_not_allowed"),
        ("/away?ftp://127.0.0.1/x", "url_not_allowed"),
        ("/cut", "url_unreachable"),
        ("/packed", RED),
        ("/bomb", TooLarge(None)),
        ("/endless", TooLarge(None)),
        ("/large", TooLarge(len(RED) + 9 * 2**20)),
        ("/noai", "url_opted_out"),
        ("/others", RED),
    ],
)
def test_pages(
    web: WebServer, client: Callable[..., WebClient], path: str, expected: bytes | str | TooLarge
) -> None:
    assert fetch(client(), web.url + path) == expected


def test_opted_out_pages_can_be_fetched_all_the_same(
    web: WebServer, client: Callable[..., WebClient]
) -> None:
    assert fetch(client(fetch_opted_out=True), web.url + "/noai") == RED


def test_a_page_that_does_not_come_is_given_up(
    web: WebServer, client: Callable[..., WebClient]
) -> None:
    begun = time.monotonic()
    assert fetch(client(fetch_timeout_sec=0.3), web.url + "/slow") == "url_timeout"
    assert time.monotonic() - begun < 5


def test_failures_that_may_pass_are_tried_again(
    web: WebServer, client: Callable[..., WebClient]
) -> None:
    assert fetch(client(), web.url + "/flaky/1") == "url_server_error"
    assert fetch(client(fetch_retries=1), web.url + "/flaky/2") == RED
    assert web.asked["/flaky/2"] == 2
    assert fetch(client(fetch_retries=3), web.url + "/status/404") == "url_not_found"
    assert fetch(client(fetch_retries=1), web.url + "/status/502") == "url_server_error"
    assert web.asked["/status/502"] == 2


def test_retry_after_holds_for_the_whole_host(
    web: WebServer, client: Callable[..., WebClient]
) -> None:
    begun = time.monotonic()
    asking = client(fetch_retries=1)
    assert fetch(asking, web.url + "/busy/1") == RED
    assert time.monotonic() - begun >= 0.9


def test_hosts_that_cannot_be_asked(client: Callable[..., WebClient]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/x"
        assert fetch(client(), url) == "url_unreachable"
        assert fetch(client(), url.replace("http:", "https:")) == "url_unreachable"
    assert fetch(client(), "http://") == "url_not_allowed"
    assert fetch(client(), "http://[::1/x") == "url_not_allowed"
    assert fetch(client(), "http://a..b/x") in ("url_not_allowed", "url_host_unknown")
    assert fetch(client(), "http://127.0.0.1:99999/x") == "url_not_allowed"


def test_no_request_reaches_a_private_network(
    web: WebServer, client: Callable[..., WebClient]
) -> None:
    """Neither by address nor by name, nor in the spellings of addresses that libraries take."""
    asking, port = client(fetch_private=False), web.server_port
    before = sum(web.asked.values())
    hosts = (
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "127.1",
        "2130706433",
    )
    for host in (*hosts, "0x7f.1", "0177.0.0.1"):
        assert fetch(asking, f"http://{host}:{port}/good") in (
            "url_not_allowed",
            "url_host_unknown",
        )
    assert fetch(asking, "http://169.254.169.254/latest/meta-data") == "url_not_allowed"
    assert sum(web.asked.values()) == before


def test_what_a_host_sees(web: WebServer, client: Callable[..., WebClient]) -> None:
    fetch(client(fetch_user_agent="mine/1.0 (me@example.org)"), web.url + "/good")
    assert web.headers["user-agent"] == "mine/1.0 (me@example.org)"
    assert web.headers["accept-encoding"] == "identity"
    assert not {"cookie", "referer", "authorization"} & web.headers.keys()


def test_a_host_is_not_asked_too_much_at_once(tmp_path: Path) -> None:
    """By two clients, as two processes have: turns are files that both lock."""
    options = FetchOptions(fetch_private=True, fetch_per_host=3)
    with web_server() as web:
        clients = [WebClient(options, HostTurns(3, tmp_path / "turns")) for _ in range(2)]
        futures = [
            each.begin(f"{web.url}/logo/{index}", MAX_BYTES)
            for index in range(10)
            for each in clients
        ]
        assert [future.result(timeout=30) for future in futures] == [LOGO] * 20
        for each in clients:
            each.close()
        assert web.most_at_once == 3


def test_closing_ends_what_is_under_way(web: WebServer, tmp_path: Path) -> None:
    client = WebClient(FetchOptions(fetch_private=True), HostTurns(2, tmp_path / "turns"))
    futures = [client.begin(web.url + "/slow", MAX_BYTES) for _ in range(5)]
    client.close()
    assert all(future.done() for future in futures)


def test_turns_are_in_a_folder_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "turns").symlink_to(tmp_path / "theirs")
    client = WebClient(FetchOptions(fetch_private=True), HostTurns(1, tmp_path / "turns"))
    try:
        with pytest.raises(PermissionError, match="is not this user's folder"):
            client.begin("http://127.0.0.1:9/x", 1).result(timeout=10)
    finally:
        client.close()


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ([], False),
        (["noai"], True),
        (["all", "NoImageAI , x"], True),
        (["hired-batch: noindex"], True),
        (["otherbot: noindex"], False),
        (["otherbot: noai", "noimageindex"], True),
        (["nofollow"], False),
    ],
)
def test_robots_headers(tags: list[str], expected: bool) -> None:
    assert opts_out(tags, "hired-batch/0.1 (x)") is expected


def test_retry_after() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert retry_after_sec("7") == 7 and retry_after_sec("9" * 30) == 60
    assert 25 < (retry_after_sec(later) or 0) <= 30
    assert retry_after_sec("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retry_after_sec("soon") is None and retry_after_sec(None) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"fetch_per_host": 0},
        {"fetch_timeout_sec": float("inf")},
        {"fetch_retries": -1},
        {"fetch_redirects": 21},
        {"fetch_user_agent": "two\nlines"},
    ],
)
def test_settings_are_in_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=next(iter(wrong))):
        FetchOptions(**wrong)


def test_passing_codes_are_codes() -> None:
    assert ROW_ERROR_CODES.keys() >= PASSING_CODES
