"""A real web server with good and bad pages, for fetching; it notes what it was asked."""

from __future__ import annotations

import contextlib
import gzip
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.table_cases import LOGO, RED

__all__ = ["WebServer", "web_server"]


class WebServer(ThreadingHTTPServer):
    """Answers by path; see `_Pages`.

    Attributes:
        asked: how often, by path.
        headers: of the last request.
        most_at_once: requests that were under way at the same time.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Pages)
        self.asked: Counter[str] = Counter()
        self.headers: dict[str, str] = {}
        self.most_at_once = self.at_once = 0
        self.lock = threading.Lock()
        self.may_go_on = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextlib.contextmanager
def web_server() -> Iterator[WebServer]:
    """A server that lives as long as the block."""
    server = WebServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.may_go_on.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Pages(BaseHTTPRequestHandler):
    server: WebServer

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        with self.server.lock:
            self.server.asked[path] += 1
            self.server.headers = {k.lower(): v for k, v in self.headers.items()}
            self.server.at_once += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.at_once)
        try:
            page = getattr(self, "page_" + path.strip("/").split("/")[0].partition(".")[0], None)
            if page is None:
                self.send_error(404)
            else:
                page()
        finally:
            with self.server.lock:
                self.server.at_once -= 1

    def page_good(self) -> None:
        self.answer(RED, content_type="text/plain")

    def page_logo(self) -> None:
        time.sleep(0.05)
        self.answer(LOGO)

    def page_html(self) -> None:
        self.answer(b"<html>log in</html>", content_type="image/jpeg")

    def page_status(self) -> None:
        self.send_error(int(self.path.rpartition("/")[2]))

    def page_busy(self) -> None:
        """The first request is told to wait for a second."""
        if self.server.asked[self.path] > 1:
            self.answer(RED)
            return
        self.send_response(429)
        self.send_header("Retry-After", "1")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def page_flaky(self) -> None:
        """Every first request fails."""
        if self.server.asked[self.path] == 1:
            self.send_error(500)
        else:
            self.answer(RED)

    def page_loop(self) -> None:
        self.redirect(self.path)

    def page_hop(self) -> None:
        """/hop/3 leads to /hop/2, and so on to /good."""
        left = int(self.path.rpartition("/")[2])
        self.redirect("../good" if left == 0 else f"/hop/{left - 1}")

    def page_away(self) -> None:
        self.redirect(self.path.partition("?")[2])

    def page_nowhere(self) -> None:
        self.send_response(302)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def page_cut(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(RED)))
        self.end_headers()
        self.wfile.write(RED[:100])

    def page_slow(self) -> None:
        """A byte, and then nothing for as long as the server lives."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(RED)))
        self.end_headers()
        self.wfile.write(RED[:1])
        self.wfile.flush()
        self.server.may_go_on.wait()

    def page_large(self) -> None:
        """9 MiB, and says so."""
        self.answer(RED + bytes(9 * 2**20))

    def page_endless(self) -> None:
        """Without a length, to whoever reads on."""
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(10_000):
                self.wfile.write(bytes(2**16))

    def page_packed(self) -> None:
        self.answer(gzip.compress(RED), content_encoding="gzip")

    def page_bomb(self) -> None:
        self.answer(gzip.compress(bytes(2**27)), content_encoding="gzip")

    def page_noai(self) -> None:
        self.answer(RED, x_robots_tag="all, NoAI")

    def page_others(self) -> None:
        self.answer(RED, x_robots_tag="otherbot: noai")

    def redirect(self, target: str) -> None:
        self.send_response(302)
        self.send_header("Location", target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self, data: bytes, **headers: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass
