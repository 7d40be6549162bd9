"""Decoding with retries, over a succession of children."""

from __future__ import annotations

import atexit
import threading
from functools import cache
from typing import Final

from hired_core.images.decode import ImageError
from pipeline.isolation.process import ChildDied, ChildProcess, ChildTimedOut
from pipeline.isolation.protocol import CutSettings, PartitionedImage

TRIES: Final = 2
START_TRIES: Final = 3
IMAGES_PER_CHILD: Final = 10_000


class IsolatedDecoder:
    """Keeps one child; starts another when it dies, or has done its share: leaks add up.

    An image that ends its child, or finds too little memory, is tried once more in a fresh one: the
    kernel may have chosen the child when another process took too much, and what earlier images
    left behind must not count against this one. An image that takes too long is not tried again: it
    would hold up all others for as long once more.
    """

    def __init__(self, settings: CutSettings) -> None:
        self._settings = settings
        self._child: ChildProcess | None = None
        self._left = 0
        self._lock = threading.Lock()

    def partition(self, image: bytes) -> PartitionedImage:
        """Decode and cut.

        Raises:
            ImageError: if the image cannot be used, or costs more than the limits allow.
            RuntimeError: if the code that decodes is at fault, or no child starts.
        """
        with self._lock:
            for _ in range(TRIES):
                try:
                    return self._running().partition(image)
                except ChildTimedOut as exc:
                    raise ImageError("image_timeout", str(exc)) from exc
                except ChildDied as exc:
                    last = ImageError("image_kills_decoder", str(exc))
                except ImageError as exc:
                    if exc.code != "image_too_much_memory":
                        raise
                    last = exc
                    self._end()
            raise last

    def close(self) -> None:
        with self._lock:
            self._end()

    def _running(self) -> ChildProcess:
        if self._child is None or not self._child.running or self._left == 0:
            self._end()
            self._child, self._left = self._start(), IMAGES_PER_CHILD
        self._left -= 1
        return self._child

    def _start(self) -> ChildProcess:
        for _ in range(START_TRIES):
            try:
                return ChildProcess(self._settings)
            except (ChildDied, ChildTimedOut) as exc:
                last = exc
        raise RuntimeError(f"the decoding process does not start: {last}") from last

    def _end(self) -> None:
        if self._child is not None:
            self._child.end()
            self._child = None


@cache
def shared_decoder(settings: CutSettings) -> IsolatedDecoder:
    """This process's decoder under `settings`: tasks come and go, the child stays."""
    decoder = IsolatedDecoder(settings)
    atexit.register(decoder.close)
    return decoder
