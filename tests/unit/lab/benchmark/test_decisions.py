"""Deciding on drawn evidence: every method that chooses before the language model, as it says."""

from __future__ import annotations

import torch

from hired_core.methods.registry import METHODS, method
from lab.benchmark.measurements.decisions import Sizes, decisions
from lab.benchmark.tables import decision_table

SMALL = Sizes(images=2, side=4, heads=2, width=8, projected=16, kept=20)


def test_every_method_that_chooses_is_timed() -> None:
    found = decisions(torch.device("cpu"), repeats=1, sizes=SMALL)
    inside = {name for name in METHODS if method(name).schedule is not None}
    assert set(found["methods"]) == set(METHODS) - inside - {"dense"}
    for name, each in found["methods"].items():
        assert 0 < each["rows"] <= 20, name
        assert each["ms"]["median"] > 0
    exact = {found["methods"][name]["rows"] for name in ("hired", "scope", "visionzip")}
    assert exact == {20}


def test_the_table_has_a_row_for_each() -> None:
    found = decisions(torch.device("cpu"), repeats=1, sizes=SMALL, names=["hired", "divprune"])
    table = decision_table(found)
    assert [row[:2] for row in table.rows] == [["hired", "20"], ["divprune", "20"]]
    assert "2 images of 5 x 16 tokens" in table.title
