"""AnyRes geometries of tests."""

from __future__ import annotations

from collections.abc import Sequence

from hired_core.geometry.anyres import AnyRes


def anyres(pinpoints: Sequence[Sequence[int]], partition_size: int, patch_size: int = 14) -> AnyRes:
    points = tuple((height, width) for height, width in pinpoints)
    return AnyRes(pinpoints=points, partition_size=partition_size, patch_size=patch_size)
