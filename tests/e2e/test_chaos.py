"""Two short runs under fire; `python -m tests.chaos.run` does many, over more rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.killers import Kill, Moment
from tests.chaos.session import Draw, Session, chaos_run, session

UNDER_WAY = 64
"""Rows of the blocks that an actor has at once, and of those on their way to be stored."""
SEC_PER_ROW = 0.03
"""Slower than the driver takes them, on a machine that does other work as well."""

DRAWS = {
    "driver": Draw(
        fmt="parquet",
        storage="local",
        rows_per_part=16,
        language_actors=1,
        kills=(Kill(victim="driver", moment=Moment(kind="parts", value=2)),),
    ),
    # Parts are closed by rows that are never there, or after a minute: as by default.
    "driver-int": Draw(
        fmt="parquet",
        storage="local",
        rows_per_part=512,
        language_actors=1,
        kills=(Kill(victim="driver-int", moment=Moment(kind="rows", value=120)),),
    ),
    "actor": Draw(
        fmt="webdataset",
        storage="s3",
        rows_per_part=16,
        language_actors=1,
        kills=(Kill(victim="actor", moment=Moment(kind="rows", value=50)),),
    ),
}


@pytest.fixture(scope="module")
def series() -> Iterator[Session]:
    with session(num_rows=200, seed=7, sec_per_row=SEC_PER_ROW) as started:
        yield started


@pytest.mark.parametrize("victim", DRAWS)
def test_killed_and_run_again_every_row_is_there_once(series: Session, victim: str) -> None:
    result = chaos_run(series, victim, DRAWS[victim], reference=None)
    log = Path(result["log"]).read_text()
    assert result["problems"] == [], log[-4000:]
    assert len(result["struck"]) == 1
    if victim == "driver-int":
        (stored,) = re.findall(r"^interrupted: (\d+) rows are stored", log, re.MULTILINE)
        assert int(stored) >= 120 - UNDER_WAY
        assert result["rows_answered"] - result["rows"] <= UNDER_WAY + len(result["struck"])
