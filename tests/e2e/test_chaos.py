"""Two short runs under fire; `python -m tests.chaos.run` does many, over more rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.killers import Kill, Moment
from tests.chaos.session import Draw, Session, chaos_run, session

DRAWS = {
    "driver": Draw(
        fmt="parquet",
        storage="local",
        rows_per_part=16,
        language_actors=1,
        kills=(Kill(victim="driver", moment=Moment(kind="parts", value=2)),),
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
    with session(num_rows=200, seed=7) as started:
        yield started


@pytest.mark.parametrize("victim", DRAWS)
def test_killed_and_run_again_every_row_is_there_once(series: Session, victim: str) -> None:
    result = chaos_run(series, victim, DRAWS[victim], reference=None)
    assert result["problems"] == [], Path(result["log"]).read_text()[-4000:]
    assert len(result["struck"]) == 1
