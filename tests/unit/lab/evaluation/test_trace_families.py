"""The page of families whose tokens are several patches, or whose grids the model resizes."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hired_core.images.partition import partition_image
from lab.evaluation.page.board import definitions
from lab.evaluation.page.picture import draw_picture
from lab.evaluation.page.trace import Tracer
from tests.support.halves import picture
from tests.support.settings import reduction
from tests.support.tiled_checkpoints import build_idefics3, build_internvl, build_onevision

SETTINGS = [
    reduction(method="hired", token_budget=12),
    reduction(method="average-pool", token_budget=40),
    reduction(token_budget=1.0),
]


def encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("build", "covered"), [(build_onevision, 56), (build_internvl, 56), (build_idefics3, 56)]
)
def test_kept_tokens_are_drawn_where_they_are(
    tmp_path: Path, build: Callable[..., Path], covered: int
) -> None:
    tracer = Tracer.load(str(build(tmp_path, seed=9)))
    image = picture(200, 220)
    trace = tracer(encoded(image), SETTINGS)
    layout = tracer.spec.layout(200, 220)
    hired, pooled, dense = trace.selections
    (kept,) = tracer.reduce(trace, SETTINGS[0])
    assert sorted(layout.place[torch.from_numpy(hired.keep)].tolist()) == kept.place.tolist()
    assert trace.side**2 == layout.num_tokens and trace.shown.shape[-1] == covered
    # The centre that a token has in the image is that of what is drawn under it.
    p, n = (int(each[-1]) for each in np.nonzero(hired.keep))
    row, col = divmod(n, trace.side)
    token = covered // trace.side
    shown = trace.shown[p, :, row * token : (row + 1) * token, col * token : (col + 1) * token]
    whole = partition_image(image, tracer.spec.geometry)[p]
    assert np.array_equal(shown, whole[:, row * token :, col * token :][:, :token, :token])
    y, x = (float(each) for each in layout.centre[p, n])
    around = np.array(image)[
        int(y * 200) - 3 : int(y * 200) + 4, int(x * 220) - 3 : int(x * 220) + 4
    ]
    assert np.abs(shown.mean((1, 2)) - around.mean((0, 1))).max() < 60
    assert (
        dense.num_kept == layout.num_dense == dense.num_left
        and dense.keep.sum() == layout.num_valid
    )
    assert ("resizes" in dense.note) == (layout.shrunk is not None)
    assert pooled.weights is not None and definitions(trace, 0).count("<image") == 3 * len(
        trace.shown
    )
    drawn = draw_picture(image, trace, hired, prompt="What?", answer="Waves.")
    assert drawn.width > 1000
