"""Qwen-VL families: dense parity with transformers, kept tokens against a gathered run."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from hired_core.methods.registry import METHODS, method
from hired_core.methods.schedule import Ranker, Shown, make_schedule
from hired_core.vlm.fitting import misfits
from hired_core.vlm.language_half import RequestBuilder
from hired_core.vlm.settings import ReductionSettings
from tests.support.halves import Halves, picture
from tests.support.masked_decoding import Masked, by_last_attention, scheduled_backend
from tests.support.native_original import NativeOriginal
from tests.support.qwen_checkpoints import build_qwen2_5_vl, build_qwen2_vl, build_qwen3_vl
from tests.support.settings import reduction

BUILDERS: dict[str, Callable[..., Path]] = {
    "qwen2_vl": build_qwen2_vl,
    "qwen2_5_vl": build_qwen2_5_vl,
    "qwen3_vl": build_qwen3_vl,
}
SIZES = [(56, 56), (200, 300), (340, 170), (31, 47), (40, 900), (700, 500)]
"""From the least to more than the most pixels; of one cell, of two and of more."""
PROMPTS = ["Describe the image.", "What?", "USER: <image>\nRead the text. ASSISTANT:"] * 2
NEW = 8
DENSE = reduction(method="dense")
IMAGES = [picture(*size) for size in SIZES]


class Model(NamedTuple):
    halves: Halves
    original: NativeOriginal


@pytest.fixture(scope="module", params=list(BUILDERS))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = BUILDERS[request.param](tmp_path_factory.mktemp(request.param), seed=5)
    return Model(Halves(folder), NativeOriginal(folder))


@cache
def singly(model: Model) -> list[tuple[list[int], int]]:
    """(tokens, prompt length) of each image, by transformers."""
    found = []
    for image, prompt in zip(IMAGES, PROMPTS, strict=True):
        tokens, lengths = model.original.generate([image], [rendered(model, prompt)], NEW)
        found.append((tokens[0], lengths[0]))
    return found


def rendered(model: Model, prompt: str) -> str:
    return model.halves.template.render(prompt)


def test_dense_parity_singly_and_in_one_batch(model: Model) -> None:
    """By both backends (`Halves.generate` compares them), and alone as among others."""
    expected = [tokens for tokens, _ in singly(model)]
    requests = model.halves.requests(IMAGES, PROMPTS, DENSE, "all")
    assert [r.num_prompt_tokens for r in requests] == [length for _, length in singly(model)]
    together = model.halves.generate(requests, max_new_tokens=NEW)
    assert [completion.token_ids for completion in together] == expected
    assert len({tuple(tokens) for tokens in expected}) == len(expected)
    for image, prompt, tokens in zip(IMAGES, PROMPTS, expected, strict=True):
        alone = model.halves.requests([image], [prompt], DENSE, "all")
        assert model.halves.generate(alone, max_new_tokens=NEW)[0].token_ids == tokens


def test_transformers_says_the_same_in_a_batch(model: Model) -> None:
    texts = [rendered(model, prompt) for prompt in PROMPTS]
    tokens, _ = model.original.generate(IMAGES, texts, NEW)
    assert tokens == [each for each, _ in singly(model)]


def test_several_questions_about_one_image(model: Model) -> None:
    """They share the tensors of the image, by which the engine reads it once."""
    halves, image = model.halves, IMAGES[1]
    expected = [
        model.original.generate([image], [rendered(model, p)], NEW)[0][0] for p in PROMPTS[:3]
    ]
    builder = RequestBuilder(spec=halves.spec, template=halves.template, settings=DENSE)
    (kept,) = halves.encode([image], DENSE)
    visual = builder.visual(kept)
    found = halves.generate([builder.request(visual, p) for p in PROMPTS[:3]], max_new_tokens=NEW)
    assert [completion.token_ids for completion in found] == expected


@pytest.mark.parametrize("settings", [
    reduction(budget=0.3), reduction(method="distinct", budget=9), reduction(budget=0.02)
])  # fmt: skip
def test_kept_tokens_are_where_they_were(model: Model, settings: ReductionSettings) -> None:
    """Texts are those of transformers' own language model over rows gathered from its own input,
    at positions gathered from its own."""
    halves = model.halves
    kept = halves.encode(IMAGES, settings)
    requests = halves.requests(IMAGES, PROMPTS, settings, "none", "original")
    found = halves.generate(requests, max_new_tokens=NEW)
    assert any(len(each.place) < each.num_dense for each in kept)
    for image, prompt, tokens, completion in zip(IMAGES, PROMPTS, kept, found, strict=True):
        inputs = model.original.inputs([image], [rendered(model, prompt)])
        assert gathered(model, inputs, tokens.place) == completion.token_ids


@torch.inference_mode()
def gathered(model: Model, inputs: dict[str, Tensor], place: Tensor) -> list[int]:
    """Greedy, without a cache: the whole sequence through the whole model for each token."""
    inner, ids = model.original.model.model, inputs["input_ids"]
    positions, _ = inner.get_rope_index(
        ids, inputs["mm_token_type_ids"], image_grid_thw=inputs["image_grid_thw"]
    )
    visual = (ids[0] == model.original.image_id).nonzero()[:, 0]
    stays = torch.ones(ids.shape[1], dtype=torch.bool)
    stays[visual] = False
    stays[visual[place]] = True
    seen, deep = embedded(model, inputs, place)
    seen, positions = seen[:, stays], positions[..., stays]
    visible = torch.isin(stays.nonzero()[:, 0], visual)
    found: list[int] = []
    while len(found) < NEW:
        extra = {}
        if deep is not None:
            extra = {"visual_pos_masks": visible[None], "deepstack_visual_embeds": deep}
        out = inner.language_model(inputs_embeds=seen, position_ids=positions, **extra)
        token = int(model.original.model.lm_head(out.last_hidden_state[:, -1]).argmax())
        if token in model.original.stop_ids:
            break
        found.append(token)
        word = inner.get_input_embeddings()(torch.tensor([[token]]))
        seen = torch.cat([seen, word], dim=1)
        positions = torch.cat(
            [positions, positions.amax((0, 2), keepdim=True).expand(3, 1, 1) + 1], -1
        )
        visible = torch.cat([visible, torch.tensor([False])])
    return found


def embedded(
    model: Model, inputs: dict[str, Tensor], place: Tensor
) -> tuple[Tensor, list[Tensor] | None]:
    """Rows of the whole input [1, L, D], and what is added to layers of the tokens at `place`."""
    inner = model.original.model.model
    found = inner.get_image_features(
        inputs["pixel_values"], inputs["image_grid_thw"], return_dict=True
    )
    rows = inner.get_input_embeddings()(inputs["input_ids"])
    rows[inputs["input_ids"] == model.original.image_id] = torch.cat(found.pooler_output)
    deep = getattr(found, "deepstack_features", None)
    return rows, None if deep is None else [torch.cat(each)[place] for each in deep]


@pytest.mark.parametrize("name", [name for name in METHODS if not list(misfits(method(name)))])
def test_every_method_runs(model: Model, name: str) -> None:
    """Within its budget, and whatever shares the batch."""
    settings = reduction(method=name, **({} if name == "dense" else {"budget": 0.4}))
    kept = model.halves.encode(IMAGES, settings)
    inside = method(name).schedule is not None
    for image, tokens in zip(IMAGES, kept, strict=True):
        most = tokens.num_dense if name == "dense" or inside else -(-tokens.num_dense * 2 // 5)
        assert 0 < len(tokens.place) <= most
        assert (tokens.place.diff() > 0).all() and int(tokens.place[-1]) < tokens.num_dense
        assert int(tokens.budgets[0]) == 0 and int(tokens.budgets.sum()) == len(tokens.place)
        (alone,) = model.halves.encode([image], settings)
        assert torch.equal(alone.place, tokens.place)
        assert torch.allclose(alone.features, tokens.features, atol=1e-4)


@pytest.mark.parametrize(("given", "reason"), [
    ({"method": "hired-upstream"}, "method: hired-upstream reads the attention of a CLS token"),
    ({"method": "globalcom2"}, "method: globalcom2 looks at the full-image beside sub-images"),
    ({"method": "image-downsample"}, "image-options max_pixels=... instead"),
    ({"method": "average-pool"}, "method: average-pool resizes the tokens of square partitions"),
    ({"skip_below": 4}, "skip_below: partitions are left out unencoded"),
    ({"positions": "compact"}, "positions: compact, but qwen"),
])  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(
    model: Model, given: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        model.halves.encode(IMAGES[:1], reduction(budget=0.2, **given))


@pytest.mark.parametrize("chunk", [5, 4096])
def test_rows_that_leave_inside_the_decoder(model: Model, chunk: int) -> None:
    """They keep their three positions: masked whole sequences by transformers' layers say so."""
    requests = model.halves.requests(IMAGES, PROMPTS, DENSE, "all")
    ranker = Ranker(asks=frozenset({"last_attention"}), rank=by_attention)
    schedule = make_schedule([0.4], [7], model.halves.spec.num_text_layers, ranker)
    language = model.halves.language
    backend = scheduled_backend(language, requests, schedule, max_new_tokens=NEW, chunk=chunk)
    masked = Masked(language, {schedule.layers[0]: 7}, by_last_attention)
    found = [completion.token_ids for completion in backend.generate(requests)]
    assert found == [masked.generate(request, NEW) for request in requests]


def by_attention(shown: Shown) -> Tensor:
    return shown.last_attention.mean(0)
