"""When the accuracy test of CI fails."""

from __future__ import annotations

from typing import Any

from tests.support.accuracy import drops


def results(average: float, yes_rate: float = 50.0) -> dict[str, Any]:
    common = {"label": "hired-0.2", "low": 78.0, "high": 82.0}
    return {
        "figures": [
            common | {"task": "average", "metric": "average", "primary": True, "value": average},
            common | {"task": "existence", "metric": "yes-rate", "primary": False}
            | {"value": yes_rate},
        ]
    }  # fmt: skip


def test_only_a_drop_below_the_recorded_interval_counts() -> None:
    reference = results(80.0)
    assert drops(reference, results(78.0)) == []
    assert drops(reference, results(99.0, yes_rate=0.0)) == []
    assert drops(reference, results(77.9)) == [
        "hired-0.2, average: 77.9 now, recorded 80.000, at least 78.000"
    ]


def test_a_figure_that_is_gone_counts() -> None:
    assert len(drops(results(80.0), {"figures": []})) == 1
