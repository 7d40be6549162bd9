"""Marks among visual tokens: which go in, and where."""

from __future__ import annotations

from dataclasses import replace

import torch

from hired_core.geometry.layout import PartitionLayout
from hired_core.geometry.marks import MarksBuilder
from hired_core.geometry.sequence import dense_positions, visual_sequence


def marked() -> PartitionLayout:
    """Two partitions of one token each: [0] token [1] token [2, 3] or, without the first, [4]."""
    marks = MarksBuilder(2)
    marks.add(0, [0], needs=[0])
    marks.add(1, [1], needs=[1])
    marks.add(2, [2, 3], needs=[0], also=[1])
    marks.add(2, [4], needs=[1], unless=[0])
    return replace(
        PartitionLayout.single(1),
        valid=torch.ones(2, 1, dtype=torch.bool),
        place=torch.tensor([[0], [1]]),
        marks=marks.build(),
    )


def test_marks_of_what_is_kept() -> None:
    layout = marked()
    both = torch.tensor([0, 1])
    assert visual_sequence(both, layout, "none").tolist() == [-1, 0, -2, 1, -3, -4]
    assert visual_sequence(both[:1], layout, "all").tolist() == [-1, 0]
    assert visual_sequence(both[1:], layout, "kept-rows").tolist() == [-2, 0, -5]


def test_places_of_marks_in_the_dense_sequence() -> None:
    layout = marked()
    assert dense_positions(torch.tensor([0, 1]), layout, "all").tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert dense_positions(torch.tensor([1]), layout, "all").tolist() == [2, 3, 4, 6]
