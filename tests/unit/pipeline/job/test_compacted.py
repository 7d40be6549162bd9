"""A run that could not merge its parts is done all the same."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import pytest

from pipeline.job.run import compacted
from pipeline.ledger.compaction import Compacted
from pipeline.rows.errors import BusyError, StorageError


@dataclass
class Writer:
    """A ledger's writer whose merge ends in a certain way."""

    end: Any

    def compact(self, rows_per_part: int) -> Compacted:
        if isinstance(self.end, Exception):
            raise self.end
        found: Compacted = self.end
        return found


def run(end: Any) -> tuple[bool, str]:
    log = io.StringIO()
    return compacted(Writer(end), 512, log), log.getvalue()  # type: ignore[arg-type]  # As one.


def test_what_was_merged_is_told() -> None:
    assert run(Compacted(before=9, after=2)) == (True, "9 small parts are 2 now\n")
    assert run(Compacted(before=0, after=0)) == (True, "")


def test_a_storage_that_fails_is_told_and_no_error() -> None:
    done, told = run(StorageError("captions/x: no space left"))
    assert not done
    assert told.startswith("note: all rows are stored, small parts are not merged: captions/x")


def test_a_lost_lease_is_an_error() -> None:
    with pytest.raises(BusyError):
        run(BusyError("another run"))
