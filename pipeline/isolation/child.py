"""The child: reads an image from its standard input, a socket, decodes, answers; until that closes.

Run as `python -m pipeline.isolation.child SETTINGS FD`, the latter of the shared memory. It imports
neither torch nor Ray, so that it is up in a tenth of a second.
"""

from __future__ import annotations

import ctypes
import importlib
import mmap
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hired_core.geometry.canvas import Size
from hired_core.images.decode import ImageError
from hired_core.images.opening import load_decoders
from pipeline.isolation.cut import Cut
from pipeline.isolation.protocol import (
    ANSWER,
    BROKEN,
    DECODED,
    MAX_TEXT_BYTES,
    PARTITIONED,
    PHASH,
    READY,
    REFUSED,
    REQUEST,
    CutSettings,
)

MAX_OPEN_FILES = 64
_PR_SET_PDEATHSIG = 1


def main() -> None:
    settings = CutSettings.from_json(sys.argv[1])
    shared = memoryview(mmap.mmap(int(sys.argv[2]), settings.shared_bytes))
    _end_with_parent()
    function = _load(settings.function)
    load_decoders()  # All, now: under the limits they might not load any more.
    if settings.phash:
        from pipeline.isolation.likeness import warm_up

        warm_up()
    _limit_resources(settings.limits.max_mib)
    _silence()
    with socket.socket(fileno=0) as channel:
        channel.sendall(READY)
        while (image := _receive(channel)) is not None:
            _answer(channel, shared, image, function, settings)


def _load(name: str) -> Callable[[bytes, CutSettings], Cut]:
    module, _, attribute = name.partition(":")
    function: Callable[[bytes, CutSettings], Cut] = getattr(
        importlib.import_module(module), attribute
    )
    return function


def _end_with_parent() -> None:
    """Even in the middle of an image; a child that waits for one ends as its input closes."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _limit_resources(max_mib: int) -> None:
    """No core dumps, few open files and `max_mib` of address space beyond what is mapped by now."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_OPEN_FILES, MAX_OPEN_FILES))
    if sys.platform == "linux":  # Elsewhere RLIMIT_AS is not enforced.
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + max_mib * 1024**2
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _silence() -> None:
    """libtiff and others write to standard error what images make them, line upon line."""
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stderr.fileno())


def _receive(channel: socket.socket) -> bytes | None:
    """The next image; None when there will be none."""
    header = _receive_exactly(channel, REQUEST.size)
    return _receive_exactly(channel, *REQUEST.unpack(header)) if header else None


def _receive_exactly(channel: socket.socket, length: int) -> bytes:
    """Empty when the parent has gone, in which case there is nobody to complain to."""
    data = bytearray(length)
    view = memoryview(data)
    while view:
        received = channel.recv_into(view)
        if not received:
            return b""
        view = view[received:]
    return bytes(data)


def _answer(
    channel: socket.socket,
    shared: memoryview,
    image: bytes,
    function: Callable[[bytes, CutSettings], Cut],
    settings: CutSettings,
) -> None:
    try:
        size, pixels, notes, phash = function(image, settings)
    except ImageError as exc:
        _say(channel, REFUSED, f"{exc.code} {exc}")
    except MemoryError:
        _say(channel, REFUSED, "image_too_much_memory MemoryError")
    except Exception:
        _say(channel, BROKEN, traceback.format_exc())
    else:
        shared[: pixels.nbytes] = pixels.data.cast("B")
        text = ",".join(notes).encode()
        mark = PHASH.pack(phash is not None, phash or 0) if settings.phash else b""
        channel.sendall(_header(size, pixels, settings, len(text)) + text + mark)


def _header(size: Size, pixels: npt.NDArray[np.uint8], settings: CutSettings, notes: int) -> bytes:
    kind, count = PARTITIONED, pixels.shape[0]
    if settings.options.resize == "fast":
        kind, count = DECODED, size[0] // pixels.shape[0]
    return ANSWER.pack(kind, size[1], size[0], count, pixels.nbytes, notes)


def _say(channel: socket.socket, kind: int, text: str) -> None:
    data = text.encode("utf-8", "replace")[-MAX_TEXT_BYTES:]
    channel.sendall(ANSWER.pack(kind, 0, 0, 0, len(data), 0) + data)


if __name__ == "__main__":
    main()
