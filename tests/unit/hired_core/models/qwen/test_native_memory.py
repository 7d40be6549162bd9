"""What the vision half takes of images that are encoded as a whole is what the memory plan says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hired_core.backends.slots.workspace import encode_bytes
from hired_core.vlm import sizing
from tests.support.halves import Halves, picture
from tests.support.live_bytes import LiveBytes
from tests.support.qwen_checkpoints import build_qwen2_vl, build_qwen3_vl
from tests.support.settings import reduction

IMAGES = 3
BUILDERS = {"qwen2_vl": build_qwen2_vl, "qwen3_vl": build_qwen3_vl}


@pytest.fixture(scope="module", params=list(BUILDERS))
def halves(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Halves:
    """Images of 1,200 tokens: a micro-batch each, and some 10 cells."""
    folder: Path = BUILDERS[request.param](tmp_path_factory.mktemp(request.param), seed=5)
    side = 28 if request.param == "qwen2_vl" else 32
    return Halves(folder, max_pixels=1200 * side**2)


@pytest.mark.parametrize("settings", [
    {"method": "dense"},
    {"method": "hired", "token_budget": 0.1},
    {"method": "distinct", "token_budget": 0.1},
    {"method": "divprune", "token_budget": 0.02},
    {"method": "visionzip", "token_budget": 0.1},
])  # fmt: skip
def test_the_plan_covers_what_is_taken(halves: Halves, settings: dict[str, Any]) -> None:
    spec = halves.spec
    sizes = sizing.request_sizes(
        spec,
        reduction(**settings),
        text_positions=10,
        max_new_tokens=4,
        dtype=torch.float32,
        limit_bytes=10**12,
        max_slots=1,
        on_gpu=False,
        images=IMAGES,
    )
    plan = {key: getattr(sizes, key) for key in ("row_width", "all_features", "pairs")}
    with LiveBytes() as live:
        halves.encode([picture(1000, 1000)] * IMAGES, reduction(**settings))
    predicted = encode_bytes(spec, num_images=IMAGES, value_bytes=4, on_gpu=False, **plan)
    assert predicted / 5 < live.peak <= predicted
