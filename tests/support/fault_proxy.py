"""A real HTTP proxy that spoils a share of the requests: a storage service on a bad night.

What a request meets is drawn from a seeded generator in the order of arrival, so one client that
waits for its answers meets the same faults every time; several clients meet the same number.
"""

from __future__ import annotations

import contextlib
import http.client
import random
import threading
import urllib.parse
from collections import Counter
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Literal

from tests.support.s3_server import S3Server

__all__ = ["FaultProxy", "fault_proxy"]

Fault = Literal["slow_down", "drop", "cut", "stall"]
Operation = Literal["read", "list", "write", "delete"]

DROPS_AND_503: Final[Mapping[Fault, float]] = {"slow_down": 2, "drop": 1, "cut": 1}
_SLOW_DOWN: Final = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>SlowDown</Code>'
    b"<Message>Please reduce your request rate.</Message></Error>"
)
_EXPIRED: Final = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>ExpiredToken</Code>'
    b"<Message>The provided token has expired.</Message></Error>"
)
_HOP_BY_HOP: Final = {"connection", "keep-alive", "transfer-encoding", "content-length", "expect"}


class FaultProxy(ThreadingHTTPServer):
    """Hands requests on to `upstream`, but for those it spoils.

    Attributes:
        share: of the requests that are spoiled; may be set while the proxy runs.
        burst: how many of each operation's first requests are spoiled in a row.
        weights: how often each fault is drawn. `slow_down` answers 503; `drop` closes the
            connection, half of the time after the request was carried out; `cut` closes it in the
            middle of the answer; `stall` says nothing for `stall_sec`, then drops.
        valid_key: others have expired; by default all are valid.
        requests: number of requests, by operation.
        faults: number of spoiled ones, by operation and fault.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self, upstream: str, share: float, weights: Mapping[Fault, float], burst: int, seed: int
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        parts = urllib.parse.urlsplit(upstream)
        assert parts.hostname is not None and parts.port is not None, upstream
        self.upstream = (parts.hostname, parts.port)
        self.share = share
        self.burst = burst
        self.weights = dict(weights)
        self.stall_sec = 60.0
        self.valid_key: str | None = None
        self.requests: Counter[Operation] = Counter()
        self.faults: Counter[tuple[Operation, Fault]] = Counter()
        self.closing = threading.Event()
        self._random = random.Random(seed)
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def spoiled(self, operation: Operation) -> int:
        """Requests of one operation that were spoiled."""
        return sum(count for (op, _), count in self.faults.items() if op == operation)

    def draw(self, operation: Operation) -> tuple[Fault | None, bool]:
        """What the next request meets, and whether a dropped one is carried out all the same."""
        with self._lock:
            self.requests[operation] += 1
            spoil, late = self._random.random() < self.share, self._random.random() < 0.5
            spoil = spoil or self.requests[operation] <= self.burst
            faults, weights = zip(*self.weights.items(), strict=True)
            fault: Fault = self._random.choices(faults, weights)[0]
            if spoil:
                self.faults[operation, fault] += 1
            return (fault if spoil else None), late

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what this proxy is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultProxy

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault, late = self.server.draw(_operation(self.command, self.path))
        self.close_connection = True
        valid, given = self.server.valid_key, self.headers.get("Authorization") or ""
        if valid is not None and f"Credential={valid}/" not in given:
            self._answer(400, "Bad Request", {"Content-Type": "application/xml"}, _EXPIRED)
        elif fault == "slow_down":
            self._answer(503, "Slow Down", {"Content-Type": "application/xml"}, _SLOW_DOWN)
        elif fault == "stall":
            self.server.closing.wait(self.server.stall_sec)
        elif fault == "drop" and not late:
            return
        else:
            self._hand_on(body, fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _handle

    def _hand_on(self, body: bytes, fault: Fault | None) -> None:
        upstream = http.client.HTTPConnection(*self.server.upstream, timeout=60)
        with contextlib.closing(upstream):
            upstream.request(self.command, self.path, body, dict(self.headers.items()))
            response = upstream.getresponse()
            data = response.read()
        if fault == "drop":
            return
        headers = {k: v for k, v in response.getheaders() if k.lower() not in _HOP_BY_HOP}
        if self.command == "HEAD":
            headers["Content-Length"] = response.getheader("Content-Length") or "0"
        self._answer(response.status, response.reason, headers, data, cut=fault == "cut")

    def _answer(
        self, status: int, reason: str, headers: Mapping[str, str], body: bytes, cut: bool = False
    ) -> None:
        self.send_response_only(status, reason)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        if not (cut and not body):  # Without a body it is the head that is cut.
            self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[: len(body) // 2] if cut else body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing; the counts tell."""


@contextlib.contextmanager
def fault_proxy(
    server: S3Server,
    share: float,
    *,
    weights: Mapping[Fault, float] = DROPS_AND_503,
    burst: int = 0,
    seed: int = 0,
) -> Iterator[FaultProxy]:
    """A proxy before `server` that lives as long as the block."""
    proxy = FaultProxy(server.endpoint_url, share, weights, burst, seed)
    thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.closing.set()
        proxy.shutdown()
        proxy.server_close()
        thread.join()


def _operation(method: str, target: str) -> Operation:
    """Path-style S3: `/bucket/key` is an object, `/bucket?list-type=2` a listing."""
    parts = urllib.parse.urlsplit(target)
    if method == "DELETE":
        return "delete"
    if method in ("PUT", "POST"):
        return "delete" if "delete" in parts.query else "write"
    return "read" if "/" in parts.path.strip("/") else "list"
