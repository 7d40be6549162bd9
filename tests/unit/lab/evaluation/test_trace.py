"""What the page shows of an image is what a job keeps of it."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
import torch

from hired_core.images.partition import partition_image
from hired_core.images.source import content_seed
from hired_core.vlm.vision_half import VisionHalf
from lab.evaluation.page.trace import ImageTrace, Tracer, kept_mask
from tests.support.halves import Halves, Original, picture
from tests.support.settings import reduction

SIZES = [(56, 112), (112, 112), (90, 112), (168, 56), (40, 168)]
SETTINGS = [
    reduction(method="hired", token_budget=0.2),
    reduction(method="hired", token_budget=0.2, skip_below=3),
    reduction(method="hired-upstream", token_budget=0.4, transposed_grid=True),
    reduction(method="uniform", token_budget=17),
    reduction(method="stride", token_budget=0.1),
    reduction(method="random", token_budget=0.3),
    reduction(token_budget=1.0),
]


def encoded(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    picture(*size).save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def halves(small_checkpoint: Path) -> Halves:
    return Halves(small_checkpoint)


@pytest.fixture(scope="module")
def traces(halves: Halves) -> list[ImageTrace]:
    tracer = Tracer(halves.vision, halves.spec)
    return [tracer(encoded(size), SETTINGS) for size in SIZES]


@pytest.mark.parametrize("which", range(len(SETTINGS)))
def test_each_selection_is_that_of_a_job_s_batch(
    halves: Halves, traces: list[ImageTrace], which: int
) -> None:
    """All images in one batch, as the select stage gives them, seeds from their bytes."""
    spec, settings = halves.spec, SETTINGS[which]
    cut = [partition_image(picture(*size), spec.geometry) for size in SIZES]
    seeds = [content_seed(hashlib.sha256(encoded(size)).hexdigest()) for size in SIZES]
    batch = VisionHalf(halves.vision, spec, settings)(cut, SIZES, seeds)
    for size, trace, tokens in zip(SIZES, traces, batch, strict=True):
        selection = trace.selections[which]
        layout = spec.layout(*size, transposed_grid=settings.transposed_grid)
        kept = sorted(layout.place[torch.from_numpy(selection.keep)].tolist())
        assert kept == tokens.place.tolist()
        assert selection.num_kept == len(tokens.place) > 0
        assert selection.budgets.tolist() == tokens.budgets.tolist()
        assert selection.num_dense == tokens.num_dense


def test_kept_patches_are_those_at_the_kept_positions(halves: Halves) -> None:
    """A 1 x 2 grid of 4 x 4 patches: position 16 + 5 is the stitched grid's (0, 5)."""
    layout = halves.spec.layout(56, 112)
    mask = kept_mask(torch.tensor([3, 21]), layout)
    assert mask.nonzero().tolist() == [[0, 3], [2, 1]]


def test_shapes_and_counts(halves: Halves, traces: list[ImageTrace]) -> None:
    for size, trace in zip(SIZES, traces, strict=True):
        layout = halves.spec.layout(*size)
        rows, cols = trace.grid
        shape = (1 + rows * cols, layout.num_tokens)
        assert trace.size == size and trace.side**2 == layout.num_tokens
        assert trace.partitions.shape == (shape[0], 3, 56, 56)
        assert trace.valid.shape == trace.initial.shape == trace.final.shape == shape
        assert trace.content_scores.shape == (shape[0] - 1,)
        np.testing.assert_allclose(trace.content_scores.sum(), 1)


def test_attention_is_what_transformers_computes(
    small_checkpoint: Path, traces: list[ImageTrace]
) -> None:
    """Eager attention of the whole tower; the feature layer is -2, the last one computed here."""
    original = Original(small_checkpoint)
    tower = original.model.model.vision_tower
    tower.set_attn_implementation("eager")
    for trace in traces:
        mean = torch.tensor(original.processor.image_processor.image_mean)[:, None, None]
        std = torch.tensor(original.processor.image_processor.image_std)[:, None, None]
        pixels = (torch.from_numpy(trace.partitions).float() / 255 - mean) / std
        with torch.inference_mode():
            attentions = tower(pixels, output_attentions=True).attentions
        for found, layer in ((trace.initial, 0), (trace.final, -2)):
            expected = attentions[layer][:, :, 0, 1:].double().sum(1)
            np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


def test_merged_rows_are_those_that_the_language_model_is_given(halves: Halves) -> None:
    """The weights that are drawn make the job's own rows of the features of all patches."""
    tracer = Tracer(halves.vision, halves.spec)
    settings = reduction(method="average-pool", token_budget=0.2, projected=False)
    trace = tracer(encoded((90, 112)), [settings])
    (selection,), (kept,) = trace.selections, tracer.reduce(trace, settings)
    assert selection.weights is not None
    with torch.inference_mode():
        embedded = halves.vision.embed(torch.from_numpy(trace.partitions))
        every = halves.vision.finish_all(halves.vision.encode(embedded))
    rows = np.einsum("kpn,pnc->kc", selection.weights, every.double().numpy())
    np.testing.assert_allclose(rows, kept.features.numpy(), atol=1e-4)
    assert selection.num_kept == len(kept.place) == selection.num_left
    np.testing.assert_array_equal(selection.keep, trace.valid)  # pooling leaves nothing out
