"""The page of families whose images are encoded as a whole: cells, and tokens at their place."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hired_core.methods.scores import visual_content_score
from lab.evaluation.page.board import board, definitions, masks
from lab.evaluation.page.examples import Answer, Example
from lab.evaluation.page.explain import Explainer
from lab.evaluation.page.picture import draw_picture
from lab.evaluation.page.trace import Tracer
from tests.support.halves import picture
from tests.support.qwen_checkpoints import build_qwen2_5_vl, build_qwen3_vl
from tests.support.settings import reduction

SETTINGS = [reduction(method="hired", token_budget=12), reduction(token_budget=1.0)]
SIZE = (180, 480)


def encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return buffer.getvalue()


@pytest.mark.parametrize("build", [build_qwen2_5_vl, build_qwen3_vl])
def test_kept_tokens_are_drawn_where_they_are(tmp_path: Path, build: Callable[..., Path]) -> None:
    tracer, image = Tracer.load(str(build(tmp_path, seed=9))), picture(*SIZE)
    trace, layout = tracer(encoded(image), SETTINGS), tracer.spec.layout(*SIZE)
    hired, dense = trace.selections
    (kept,) = tracer.reduce(trace, SETTINGS[0])
    assert layout.num_partitions == len(trace.shown) > 2 and not trace.has_full_image
    assert sorted(layout.place[torch.from_numpy(hired.keep)].tolist()) == kept.place.tolist()
    # What is drawn under a token is that part of the image, resized to whole tokens.
    rows, cols = layout.stitched
    token = trace.shown.shape[-1] // trace.side
    resized = np.array(image.resize((cols * token, rows * token), Image.Resampling.BICUBIC))
    for p, n in np.argwhere(hired.keep):
        row, col = divmod(int(n), trace.side)
        drawn = trace.shown[p, :, row * token :, col * token :][:, :token, :token]
        y, x = divmod(int(layout.place[p, n]), cols)
        under = resized[y * token :, x * token :][:token, :token]
        assert np.array_equal(drawn, under.transpose(2, 0, 1))
    assert dense.num_kept == layout.num_valid and dense.keep.sum() == layout.num_valid
    initial = torch.from_numpy(trace.initial)
    scores = visual_content_score(initial.flatten()[None], layout)
    assert trace.content_scores.tolist() == pytest.approx(scores.tolist())
    assert not trace.final[~trace.valid].any()
    answers = (Answer(method="hired", budget=12, prediction="", score=None),)
    example = Example(name="", task="", question="", references=(), answers=answers, trace=trace)
    drawn_page = board(example, 0, "hired")
    assert "no full-image" in drawn_page and "cell 1 of" in drawn_page
    assert definitions(trace, 0).count("<image") == 3 * len(trace.shown)
    assert masks(example)["side"] == 12
    card = draw_picture(image, trace, hired, prompt="What?", answer="Waves.")
    assert card.width > 1000


def test_a_page_of_a_native_model(tmp_path: Path) -> None:
    explainer = Explainer(str(build_qwen3_vl(tmp_path, seed=9)))
    page = explainer.page({"a.png": encoded(picture(90, 120))}, "What?", SETTINGS)
    assert "no full-image" in page
