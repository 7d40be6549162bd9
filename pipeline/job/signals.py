"""SIGINT and SIGTERM end a job as one kind of interruption, and are heard at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interrupts(first: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Both raise `KeyboardInterrupt`: `ray job stop` and schedulers send SIGTERM, people Ctrl-C.

    Signals come to the main thread alone; in any other this does nothing.

    Args:
        first: done in the handler, before the stack is unwound, which may take Ray seconds.
    """

    def interrupt(_: int, frame: FrameType | None) -> None:
        first()
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # What a shell started in the background is to ignore Ctrl-C.
    heard = [n for n in _SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]
    before = [signal.signal(number, interrupt) for number in heard]
    try:
        yield
    finally:
        for number, handler in zip(heard, before, strict=True):
            signal.signal(number, handler)
