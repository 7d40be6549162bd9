"""The parent's handle of one decoding child."""

from __future__ import annotations

import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import BinaryIO, Final

import numpy as np

from pipeline.isolation.protocol import (
    ANSWER,
    BROKEN,
    DECODED,
    PARTITIONED,
    PHASH,
    READY,
    REFUSED,
    REQUEST,
    AnswerHeader,
    BadAnswer,
    CutSettings,
    PartitionedImage,
    parse_notes,
    parse_refusal,
)

START_TIMEOUT_SEC: Final = 60.0
_END_TIMEOUT_SEC: Final = 5.0
_KEPT_BYTES: Final = 64 * 1024**2  # of shared memory: a photograph of 20 megapixels
_COMMAND: Final = (sys.executable, "-P", "-m", "pipeline.isolation.child")
# Thread pools would only take address space: there is one image at a time.
_ONE_THREAD: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
# glibc would give the memory of each image back and fault it in anew for the next, page by page: 4
# of 26 ms for 1344 x 1008 pixels. 32 MiB is the most it takes for the former.
_KEEP_HEAP: Final = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024**2),
    "MALLOC_TRIM_THRESHOLD_": str(128 * 1024**2),
}
_KEPT_VARIABLES: Final = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "LANG", "LC_ALL", "TMPDIR")


class ChildDied(Exception):
    """The child ended, or had to be ended since it spoke nonsense; the text says how."""


class ChildTimedOut(Exception):
    """The child took too long, and was killed."""


class ChildProcess:
    """A running child. It is one image at a time, and not thread-safe.

    Raises:
        ChildTimedOut, ChildDied: if it does not come up.
    """

    def __init__(self, settings: CutSettings) -> None:
        self._settings = settings
        self._deadline = 0.0
        self._socket, theirs = socket.socketpair()
        with theirs, _memory(settings.shared_bytes) as memory:
            self._shared = mmap.mmap(memory.fileno(), settings.shared_bytes)
            self._process = subprocess.Popen(
                [*_COMMAND, settings.to_json(), str(memory.fileno())],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                pass_fds=[memory.fileno()],
                env=_environment(),
            )
        with self._conversation(START_TIMEOUT_SEC):
            if self._receive(len(READY)) != READY:
                raise BadAnswer("no greeting")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def partition(self, image: bytes) -> PartitionedImage:
        """Decode and cut.

        Raises:
            ImageError: if the child refuses the image; it is good for the next one.
            ChildTimedOut, ChildDied: it is gone.
            RuntimeError: if the code that the child runs is at fault, not the image.
        """
        with self._conversation(self._settings.limits.timeout_sec):
            self._send(REQUEST.pack(len(image)))
            self._send(image)
            header = AnswerHeader.parse(self._receive(ANSWER.size), self._settings)
            in_memory = header.kind in (PARTITIONED, DECODED)
            text = self._receive(header.notes_length if in_memory else header.length)
            notes = parse_notes(text) if in_memory else ()
            refusal = parse_refusal(text) if header.kind == REFUSED else None
            phash = self._receive_phash() if in_memory and self._settings.phash else None
        if refusal is not None:
            raise refusal
        if header.kind == BROKEN:
            raise RuntimeError("the decoder failed:\n" + text.decode("utf-8", "replace"))
        made = self._cut if header.kind == DECODED else self._copy
        return replace(made(header, notes), phash=phash)

    def _receive_phash(self) -> int | None:
        """Any 64 bits are a hash: there is nothing to check."""
        is_there, value = PHASH.unpack(self._receive(PHASH.size))
        return int(value) if is_there else None

    def _copy(self, header: AnswerHeader, notes: tuple[str, ...]) -> PartitionedImage:
        return PartitionedImage(
            width=header.width,
            height=header.height,
            num_pieces=header.count,
            pixels=self._shared[: header.length],
            notes=notes,
        )

    def _cut(self, header: AnswerHeader, notes: tuple[str, ...]) -> PartitionedImage:
        """Here, straight from the shared memory. A child that went on writing to it would only
        spoil the pixels of its own image."""
        from hired_core.images.fast_partition import (
            partition_pixels,  # torch, which the child is without
        )

        pixels = np.frombuffer(self._shared, np.uint8, header.length)
        partitions = partition_pixels(
            pixels.reshape(*header.decoded_size, 3),
            self._settings.geometry,
            image_size=(header.height, header.width),
        )
        if header.length > _KEPT_BYTES and sys.platform == "linux":
            self._shared.madvise(mmap.MADV_REMOVE)
        return PartitionedImage(
            width=header.width,
            height=header.height,
            num_pieces=len(partitions),
            pixels=partitions.tobytes(),
            notes=notes,
        )

    def end(self, *, patience_sec: float = 0.0) -> str:
        """Kill it, unless it ends by itself in that time; says how it ended."""
        self._socket.close()
        self._shared.close()
        try:
            status = self._process.wait(timeout=patience_sec)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit code {status}"

    @contextmanager
    def _conversation(self, timeout_sec: float) -> Iterator[None]:
        """Within it, `_send` and `_receive` share the time; should it break off, the child ends."""
        self._deadline = time.monotonic() + timeout_sec
        try:
            yield
        except TimeoutError as exc:
            self.end()
            raise ChildTimedOut(f"no answer for {timeout_sec:g} s") from exc
        except ConnectionError as exc:
            # It has closed the socket, so it is ending: its own status says more than a kill.
            raise ChildDied(self.end(patience_sec=_END_TIMEOUT_SEC)) from exc
        except BadAnswer as exc:
            self.end()
            raise ChildDied(f"it spoke nonsense: {exc}") from exc
        except BaseException:
            self.end()  # Or it would answer the next image with what it owes to this one.
            raise

    def _send(self, data: bytes) -> None:
        self._socket.settimeout(self._remaining_sec())
        self._socket.sendall(data)

    def _receive(self, length: int) -> bytes:
        data = bytearray(length)
        view = memoryview(data)
        while view:
            self._socket.settimeout(self._remaining_sec())
            received = self._socket.recv_into(view)
            if not received:
                raise ConnectionResetError("the child closed its socket")
            view = view[received:]
        return bytes(data)

    def _remaining_sec(self) -> float:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        return remaining


def _memory(length: int) -> BinaryIO:
    """Of this length, for two processes to map."""
    if sys.platform == "linux":
        file: BinaryIO = os.fdopen(os.memfd_create("partitions"), "w+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115  # The caller closes it.
    file.truncate(length)
    return file


def _environment() -> dict[str, str]:
    """This process's import path, and no more of its environment than Python needs to start: the
    credentials in it are none of the decoder's business."""
    kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return kept | {"PYTHONPATH": path} | _ONE_THREAD | _KEEP_HEAP
