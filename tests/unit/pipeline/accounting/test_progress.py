"""The progress line, by hand; counts go to the counter and nowhere without one."""

from __future__ import annotations

import io
from typing import Any

import pytest

from pipeline.accounting.progress import ProgressCounter, ProgressPrinter, ProgressReporter


def line(counts: dict[str, int], *, elapsed: float, total: int | None) -> str:
    times = iter([100.0, 100.0 + elapsed])
    printer = ProgressPrinter(
        counter=None,
        total_rows=total,
        num_shards=12,
        usd_per_sec=0.01,
        out=io.StringIO(),
        rows_stored=lambda: 7,
        clock=lambda: next(times),
    )
    return printer.line(counts)


@pytest.mark.parametrize(
    ("counts", "elapsed", "total", "expected"),
    [
        (
            {"captioned": 1020, "quarantined": 4, "shards": 3},
            128.0,
            5000,
            # 1024 rows in 128 s are 8.0 a second; the other 3976 take 497 s.
            "captioned 1,020/5,000 · quarantined 4 · stored 7 · shards read 3/12 · 8.0 rows/s · "
            "2:08 elapsed, about 8:17 left · USD 1.28",
        ),
        (
            {"captioned": 10},
            3725.0,
            None,
            "captioned 10 · quarantined 0 · stored 7 · shards read 0/12 · 0.0 rows/s · "
            "1:02:05 elapsed · USD 37.25",
        ),
        (
            {"captioned": 90, "quarantined": 10, "shards": 12},
            50.0,
            100,
            "captioned 90/100 · quarantined 10 · stored 7 · shards read 12/12 · 2.0 rows/s · "
            "0:50 elapsed · USD 0.50",
        ),
        (
            {"captioned": 50, "quarantined": 10, "duplicates": 1040},
            50.0,
            1100,
            "captioned 50/1,100 · quarantined 10 · duplicates 1,040 · stored 7 · "
            "shards read 0/12 · 22.0 rows/s · 0:50 elapsed · USD 0.50",
        ),
        (
            {},
            0.0,
            7,
            "captioned 0/7 · quarantined 0 · stored 7 · shards read 0/12 · 0:00 elapsed · USD 0.00",
        ),
    ],
)
def test_line(counts: dict[str, int], elapsed: float, total: int | None, expected: str) -> None:
    assert line(counts, elapsed=elapsed, total=total) == expected


def test_a_board_adds_up() -> None:
    counter = ProgressCounter()
    counter.add({"captioned": 2, "quarantined": 0})
    counter.add({"captioned": 3, "shards": 1})
    assert counter.counts() == {"captioned": 5, "quarantined": 0, "shards": 1}


def test_a_reporter_without_a_board_is_silent_and_with_one_does_not_wait() -> None:
    class Handle:
        """As a Ray actor handle: `method.remote(...)` returns at once."""

        def __init__(self) -> None:
            self.sent: list[Any] = []
            self.add = self

        def remote(self, counts: dict[str, int]) -> None:
            self.sent.append(counts)

    ProgressReporter().add(captioned=1)
    handle = Handle()
    ProgressReporter(counter=handle).add(captioned=1, quarantined=2)
    assert handle.sent == [{"captioned": 1, "quarantined": 2}]
