"""The images that rows only name, several under way at once, in the order of the rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

from pipeline.sources.named.places import Place, place_of
from pipeline.sources.samples import Failure, oversize
from pipeline.sources.shard import MIB, ReadOptions, Shard
from pipeline.storage.bounded import TooLarge, Unreadable, read_bounded
from pipeline.storage.files import local_path, storage_errors
from pipeline.storage.web.web_client import WebClient

__all__ = ["PLACE", "Bringer", "Brought"]

PLACE: Final = "place"
"""Key of a row for what names its image; None, or missing, where the image is there already."""

MOST_AT_ONCE: Final = 32
LARGE_BYTES: Final = 8 * MIB
"""A larger image is read when it is its row's turn: no more than `MOST_AT_ONCE` of these and one
of any size are held at a time."""

_Row = dict[str, Any]
_Read = bytes | TooLarge | Unreadable
Brought = bytes | Failure | None
"""An image, or why there is none; None for a row that names none."""


class Bringer:
    """Brings the images of one shard; close it, and nothing is under way any more."""

    def __init__(self, shard: Shard, options: ReadOptions) -> None:
        self._table_url = shard.url
        self._options = options
        self._web: WebClient | None = None
        self._threads: ThreadPoolExecutor | None = None

    def bring(self, rows: Iterable[_Row]) -> Iterator[tuple[_Row, Brought]]:
        """Each row with its image.

        Raises:
            StorageError: if a storage fails, other than by not having what is named.
        """
        waiting: deque[tuple[_Row, _Errand]] = deque()
        num_bytes = 0
        for row in rows:
            waiting.append((row, self._begin(row.pop(PLACE, None))))
            num_bytes += len(row["image"] or b"")
            while waiting and (
                waiting[0][1].is_ready()
                or len(waiting) > MOST_AT_ONCE
                or num_bytes >= self._options.batch_bytes
            ):
                ended, errand = waiting.popleft()
                num_bytes -= len(ended["image"] or b"")
                yield ended, errand.end()
        for row, errand in waiting:
            yield row, errand.end()

    def close(self) -> None:
        if self._web is not None:
            self._web.close()
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)

    def _begin(self, text: str | None) -> _Errand:
        if text is None:
            return _Errand(None)
        place = place_of(text, self._table_url, self._options.image_root)
        if isinstance(place, Failure):
            return _Errand(place)
        most = self._options.max_image_bytes
        small = min(LARGE_BYTES, most)
        future = self._start(place, small)
        return _Errand(None, most, place.url, future, lambda: self._whole(place, most))

    def _whole(self, place: Place, most: int) -> _Read:
        future = self._start(place, most)
        return read_bounded(place.url, self._storage, most) if future is None else future.result()

    def _start(self, place: Place, most: int) -> Future[_Read] | None:
        """None for files of this machine: they are there at once."""
        if place.is_web:
            self._web = self._web or WebClient(self._options.fetch)
            return self._web.begin(place.url, most)
        if local_path(place.url) is not None:
            return None
        self._threads = self._threads or ThreadPoolExecutor(MOST_AT_ONCE // 2)
        return self._threads.submit(read_bounded, place.url, self._storage, most)

    @property
    def _storage(self) -> Any:
        return self._options.storage_options


class _Errand:
    """One image on its way, or what is known of it already."""

    def __init__(
        self,
        known: Failure | None,
        most: int = 0,
        url: str = "",
        future: Future[_Read] | None = None,
        whole: Callable[[], _Read] | None = None,
    ) -> None:
        self._known, self._most, self._url = known, most, url
        self._future, self._whole = future, whole

    def is_ready(self) -> bool:
        return self._future is None or self._future.done()

    def end(self) -> Brought:
        """What was brought; an image too large to be fetched beside others is fetched now."""
        if self._whole is None:
            return self._known
        with storage_errors("read", self._url):
            found = self._whole() if self._future is None else self._future.result()
            if isinstance(found, TooLarge) and self._future is not None:
                found = self._whole()
        if isinstance(found, Unreadable):
            return Failure(found.code, found.detail)
        return found if isinstance(found, bytes) else oversize(found.num_bytes, self._most)
