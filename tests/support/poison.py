"""A decoder that some images bring down: what stands behind their data says how.

Run by the decoding child instead of `pipeline.isolation.cut`; every other image is decoded as ever.
"""

from __future__ import annotations

import ctypes
import os
import re
import resource
from pathlib import Path

from hired_core.images.decode import ImageError
from pipeline.isolation.cut import Cut
from pipeline.isolation.cut import cut as really_cut
from pipeline.isolation.protocol import CutSettings

FUNCTION = f"{__name__}:cut"

MARK = b"!poison:"
SEGFAULT = MARK + b"segfault"
MEMORY = MARK + b"memory"
HANG = MARK + b"hang"
BUG = MARK + b"bug"
NONSENSE = MARK + b"nonsense"
NOTES = MARK + b"notes"
LIMITS = MARK + b"limits"
ONCE = MARK + b"once:"  # and the path of a file that remembers it


def cut(data: bytes, settings: CutSettings) -> Cut:
    good, mark, rest = data.partition(MARK)
    if mark:
        _misbehave(mark + rest)
    made = really_cut(good, settings)
    return made._replace(notes=("<script>",)) if mark + rest == NOTES else made


def _misbehave(mark: bytes) -> None:
    if mark == SEGFAULT:
        ctypes.string_at(0)
    elif mark == MEMORY:
        _allocate_without_end()
    elif mark == HANG:
        re.match("(a+)+b", "a" * 64)  # In C, for longer than the age of the universe.
    elif mark == BUG:
        raise AssertionError("a bug")
    elif mark == NONSENSE:
        os.write(0, b"\xff" * 64)
    elif mark == LIMITS:
        _tell_limits()
    elif mark.startswith(ONCE):
        _die_once(Path(os.fsdecode(mark.removeprefix(ONCE))))


def _allocate_without_end() -> None:
    blocks = []
    while True:
        blocks.append(bytearray(2**24))


def _die_once(memory: Path) -> None:
    if not memory.exists():
        memory.touch()
        os.abort()


def _tell_limits() -> None:
    core, _ = resource.getrlimit(resource.RLIMIT_CORE)
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    raise ImageError("image_corrupt", f"core {core} files {files} env {sorted(os.environ)}")
