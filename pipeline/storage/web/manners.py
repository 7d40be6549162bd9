"""How a guest behaves: what hosts say about robots and waiting, and how much is asked at once."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import fcntl
import hashlib
import os
import random
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

__all__ = ["HostTurns", "opts_out", "retry_after_sec"]

_OPT_OUTS: Final = frozenset(("noai", "noimageai", "noindex", "noimageindex"))
_POLL_SEC: Final = 0.05
_MAX_WAIT_SEC: Final = 60.0


def opts_out(robots_tags: Iterable[str], user_agent: str) -> bool:
    """Whether `X-Robots-Tag` headers say no to this use, to all robots or to this one.

    img2dataset's rule, and its four words: 'noai', 'otherbot: noai', 'all, noimageai'.
    """
    own = user_agent.partition("/")[0].strip().lower()
    for tag in robots_tags:
        agent, mark, words = tag.rpartition(":")
        meant = not mark or agent.strip().lower() == own
        if meant and any(word.strip().lower() in _OPT_OUTS for word in words.split(",")):
            return True
    return False


def retry_after_sec(header: str | None) -> float | None:
    """Of seconds or a date, 0 to 60; None where there is neither."""
    if header is None:
        return None
    text = header.strip()
    if text.isdecimal():
        return min(float(text[:9]), _MAX_WAIT_SEC)
    try:
        when = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    now = datetime.now(UTC)
    wait = (when if when.tzinfo else when.replace(tzinfo=UTC)) - now
    return min(max(wait.total_seconds(), 0.0), _MAX_WAIT_SEC)


class HostTurns:
    """So many requests to a host at once, over all processes of a user on this machine.

    A turn is a lock on one of the host's files in a folder of the user's: the system lets go of it
    when a process dies.

    Args:
        per_host: how many.
        folder: of the files; by default below the system's folder of temporary files.
    """

    def __init__(self, per_host: int, folder: Path | None = None) -> None:
        self._per_host = per_host
        self._folder = folder or Path(tempfile.gettempdir()) / f"hired-hosts-{os.getuid()}"
        self._not_before: dict[str, float] = {}

    def pause(self, host: str, wait_sec: float) -> None:
        """Ask this host nothing for so long."""
        until = time.monotonic() + wait_sec
        self._not_before[host] = max(until, self._not_before.get(host, 0.0))

    @contextlib.asynccontextmanager
    async def turn(self, host: str) -> AsyncIterator[None]:
        """Waits for one; it is over when the block is.

        Raises:
            OSError: if the folder cannot be used, or is someone else's.
        """
        descriptor = await self._locked(host)
        try:
            yield
        finally:
            os.close(descriptor)

    async def _locked(self, host: str) -> int:
        name = hashlib.blake2b(host.encode(), digest_size=8).hexdigest()
        folder = self._own_folder()
        while True:
            if (wait := self._not_before.get(host, 0.0) - time.monotonic()) > 0:
                await asyncio.sleep(wait)
                continue
            for index in range(self._per_host):
                if (descriptor := _try_lock(folder / f"{name}-{index}")) is not None:
                    return descriptor
            await asyncio.sleep(_POLL_SEC * (1 + random.random()))

    def _own_folder(self) -> Path:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self._folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise PermissionError(f"{self._folder} is not this user's folder")
        return self._folder


def _try_lock(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
