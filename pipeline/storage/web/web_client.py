"""One URL of a table -> its bytes, or why not; many at once, on a thread of their own."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
import threading
import zlib
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import aiohttp
import yarl

from pipeline.rows.errors import PASSING_CODES
from pipeline.rows.redact import redact_url
from pipeline.storage.bounded import TooLarge, Unreadable
from pipeline.storage.web.addresses import AddressNotAllowedError, PublicResolver, check_host
from pipeline.storage.web.fetch_options import FetchOptions
from pipeline.storage.web.manners import HostTurns, opts_out, retry_after_sec

__all__ = ["WebClient"]

_PIECE_BYTES: Final = 64 * 1024
_CONNECT_SEC: Final = 10.0
_REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
_BY_STATUS: Final = {
    404: "url_not_found",
    410: "url_not_found",
    408: "url_timeout",
    425: "url_busy",
    429: "url_busy",
    503: "url_busy",
}
_Result = bytes | TooLarge | Unreadable


class WebClient:
    """Fetches until it is closed. What it hands on are values: a page that fails costs itself."""

    def __init__(self, options: FetchOptions, turns: HostTurns | None = None) -> None:
        self._options = options
        self._turns = turns or HostTurns(options.fetch_per_host)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._session = self._wait(self._open())

    def begin(self, url: str, max_bytes: int) -> Future[_Result]:
        """Start to fetch; the result is there when it is."""
        return asyncio.run_coroutine_threadsafe(self._fetch(url, max_bytes), self._loop)

    def close(self) -> None:
        """Ends what is under way."""
        self._wait(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _open(self) -> aiohttp.ClientSession:
        resolver = PublicResolver(allow_private=self._options.fetch_private)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=resolver, limit=0),
            # Bytes as they are sent: what is packed would be unpacked without a bound.
            auto_decompress=False,
            headers={
                "User-Agent": self._options.fetch_user_agent,
                "Accept": "image/*,*/*;q=0.5",
                "Accept-Encoding": "identity",
            },
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=self._options.fetch_timeout_sec, sock_connect=_CONNECT_SEC
            ),
        )

    async def _end(self) -> None:
        others = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._session.close()

    async def _fetch(self, url: str, max_bytes: int) -> _Result:
        attempt = 0
        while True:
            result = await self._try(url, max_bytes)
            if not isinstance(result, Unreadable) or result.code not in PASSING_CODES:
                return result
            if attempt == self._options.fetch_retries:
                return Unreadable(result.code, f"{result.detail}; {attempt + 1} tries")
            await asyncio.sleep(2**attempt * (0.5 + random.random() / 2))
            attempt += 1

    async def _try(self, url: str, max_bytes: int) -> _Result:
        try:
            async with asyncio.timeout(None) as limit:
                return await self._follow(url, max_bytes, limit)
        except (TimeoutError, aiohttp.ServerTimeoutError):
            return Unreadable("url_timeout", f"over {self._options.fetch_timeout_sec:g} s")
        except zlib.error as exc:
            return Unreadable("url_unreachable", f"what it packed does not unpack: {exc}")
        except (aiohttp.ClientError, AddressNotAllowedError, ValueError) as exc:
            return _told(exc)

    async def _follow(self, url: str, max_bytes: int, limit: asyncio.Timeout) -> _Result:
        """Through redirects; the time for a page begins with its first turn, not in the queue."""
        for _ in range(self._options.fetch_redirects + 1):
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                return Unreadable("url_not_allowed", f"not http(s): {redact_url(url)}")
            check_host(parts.hostname, allow_private=self._options.fetch_private)
            async with self._turns.turn(parts.hostname):
                if limit.when() is None:
                    now = asyncio.get_running_loop().time()
                    limit.reschedule(now + self._options.fetch_timeout_sec)
                found = await self._get(url, max_bytes)
            if not isinstance(found, str):
                return found
            url = found
        return Unreadable("url_redirects", f"over {self._options.fetch_redirects} redirects")

    async def _get(self, url: str, max_bytes: int) -> _Result | str:
        """The answer; of a redirect its target."""
        async with self._session.get(yarl.URL(url), allow_redirects=False) as answer:
            if answer.status in _REDIRECTS:
                target = answer.headers.get("Location")
                if target is None:
                    return Unreadable("url_redirects", f"{answer.status} without a target")
                return str(urljoin(url, target))
            if answer.status != 200:
                return self._refused(answer)
            tags = answer.headers.getall("X-Robots-Tag", [])
            agent = self._options.fetch_user_agent
            if not self._options.fetch_opted_out and opts_out(tags, agent):
                return Unreadable("url_opted_out", f"X-Robots-Tag: {', '.join(tags)}")
            return await _body(answer, max_bytes)

    def _refused(self, answer: aiohttp.ClientResponse) -> Unreadable:
        status = answer.status
        wait = retry_after_sec(answer.headers.get("Retry-After"))
        if status in (429, 503) and wait is not None:
            self._turns.pause(urlsplit(str(answer.url)).hostname or "", wait)
        other = "url_server_error" if status >= 500 else "url_refused"
        return Unreadable(_BY_STATUS.get(status, other), f"HTTP {status} {answer.reason or ''}")


async def _body(answer: aiohttp.ClientResponse, max_bytes: int) -> bytes | TooLarge:
    length = answer.content_length
    if length is not None and length > max_bytes:
        return TooLarge(length)
    found = bytearray()
    # Some servers pack what was asked for as it is.
    packed = answer.headers.get("Content-Encoding", "").strip().lower() in ("gzip", "x-gzip")
    unpack = zlib.decompressobj(wbits=31) if packed else None
    async for piece in answer.content.iter_chunked(_PIECE_BYTES):
        found += unpack.decompress(piece, max_bytes + 1 - len(found)) if unpack else piece
        if len(found) > max_bytes:
            return TooLarge(None)
    return bytes(found)


def _told(exc: Exception) -> Unreadable:
    """The exception as the failure of a row; no URL is repeated, since it may hold a signature."""
    inner: BaseException | None = exc
    while inner is not None:
        if isinstance(inner, AddressNotAllowedError):
            return Unreadable("url_not_allowed", f"{inner} (--fetch-private allows it)")
        if isinstance(inner, ssl.SSLCertVerificationError):
            return Unreadable("url_not_trusted", f"its certificate: {inner.verify_message}")
        if isinstance(inner, socket.gaierror) and inner.errno != socket.EAI_AGAIN:
            return Unreadable("url_host_unknown", inner.strerror or "no such host")
        inner = getattr(inner, "os_error", None) or inner.__cause__ or inner.__context__
    if isinstance(exc, aiohttp.InvalidURL) or not isinstance(exc, aiohttp.ClientError):
        return Unreadable("url_not_allowed", "no URL that can be asked for")
    return Unreadable("url_unreachable", type(exc).__name__)
