"""A geometry goes to the decoding child as JSON and comes back the same."""

from __future__ import annotations

import json

import pytest

from hired_core.geometry.base import Geometry, from_json, to_json
from hired_core.geometry.native import Native
from hired_core.geometry.square import Square
from tests.support.geometry import anyres

GEOMETRIES = [
    anyres(((56, 112), (112, 56)), 56),
    Square(partition_size=56, patch_size=14),
    Native(patch_size=14, merge=2, min_pixels=3136, max_pixels=1_003_520),
]


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_there_and_back(geometry: Geometry) -> None:
    assert from_json(json.loads(json.dumps(to_json(geometry)))) == geometry


def test_only_of_this_folder() -> None:
    with pytest.raises(ValueError, match=r"no geometry os\.system"):
        from_json({"module": "os", "class": "system", "command": "true"})


def test_nominal_tokens() -> None:
    assert [geometry.nominal_tokens for geometry in GEOMETRIES] == [3 * 16, 16, 1280]
