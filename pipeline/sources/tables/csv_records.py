"""The records of a CSV file one by one, good and bad: a bad line costs itself and no other."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Final

__all__ = ["MAX_RECORD_CHARS", "BadRecord", "bounded_lines", "csv_records", "delimiter_of"]

MAX_RECORD_CHARS: Final = 1024 * 1024
"""Of a line, and of all lines of a record."""

_DELIMITERS: Final = ("\t", ",", ";", "|")


@dataclass(frozen=True, slots=True)
class BadRecord:
    """What stands where a record should."""

    problem: str


class _TooLongError(Exception):
    pass


def bounded_lines(file: IO[str]) -> Iterator[str | None]:
    """Lines with their ends; None for one that is too long, whose rest is skipped."""
    while line := file.readline(MAX_RECORD_CHARS):
        if len(line) < MAX_RECORD_CHARS or line.endswith(("\n", "\r")):
            yield line
            continue
        yield None
        while (rest := file.readline(MAX_RECORD_CHARS)) and not rest.endswith(("\n", "\r")):
            pass


def delimiter_of(header: str, wanted: str) -> str:
    """What parts the fields of a file with this first line: `wanted`, if it is there at all.

    Spreadsheets of some countries write ';' into .csv files.
    """
    if wanted in header:
        return wanted
    return next((each for each in _DELIMITERS if each in header), wanted)


def csv_records(lines: Iterator[str | None], delimiter: str) -> Iterator[list[str] | BadRecord]:
    """The fields of each record; blank lines are none.

    A quote that is never closed would take in the rest of the file: of a record that does not end
    its first line is bad, and the lines behind it are read again.
    """
    csv.field_size_limit(MAX_RECORD_CHARS)
    feed = _Feed(lines)
    while True:
        feed.begin()
        try:
            record = next(csv.reader(feed, delimiter=delimiter, strict=True), None)
        except (csv.Error, _TooLongError) as exc:
            feed.again.extendleft(reversed(feed.taken[1:]))
            yield BadRecord(str(exc))
            continue
        if record is None:
            return
        if record:
            yield record


class _Feed:
    """Lines, and those that are to be read again; it keeps what a record took."""

    def __init__(self, lines: Iterator[str | None]) -> None:
        self._lines = lines
        self._num_chars = 0
        self.taken: list[str | None] = []
        self.again: deque[str | None] = deque()

    def begin(self) -> None:
        """The next line is the first of a record."""
        self._num_chars = 0
        self.taken.clear()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.again.popleft() if self.again else next(self._lines)
        self.taken.append(line)
        self._num_chars += len(line or "")
        if line is None or self._num_chars > MAX_RECORD_CHARS:
            raise _TooLongError(f"over {MAX_RECORD_CHARS} characters")
        return line
