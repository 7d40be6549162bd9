"""Rotary positions as in the dense sequence: places by hand and by transformers' own packing, texts
by a greedy loop over transformers' language model that knows nothing of the engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from hired_core import PartitionLayout
from hired_core.backends.reference import ReferenceBackend
from hired_core.backends.slots.backend import SlotBackend
from hired_core.geometry.sequence import NEWLINE, NewlinePolicy, dense_positions, visual_sequence
from hired_core.language.generation import GenerationSettings
from hired_core.language.model import Request
from tests.support.checkpoints import EMBEDDED
from tests.support.halves import Halves, Original, picture, slot_backend, slot_layout
from tests.support.settings import reduction

# 112-pixel partitions: all five grids, some with padding.
SIZES = [(112, 224), (200, 112), (150, 224), (336, 90), (60, 336), (11, 313)]
PROMPTS = ["Describe the image.", "How many red circles are there?"]
NEW = 8
POLICIES: list[NewlinePolicy] = ["none", "kept-rows", "all"]
# Positions: full-image 0..3, then the stitched raster `4 5 | 6 7` and `8 9 | 10 11`. Dense: 0..3,
# 4..7 and a newline at 8, 9..12 and a newline at 13, the text at 14.
WIDE = PartitionLayout.from_image_size(
    28, 56, pinpoints=[(28, 56)], partition_size=28, patch_size=14
)


@pytest.fixture(scope="module")
def halves() -> Halves:
    return Halves("embedded")


@pytest.fixture(scope="module")
def original() -> Original:
    return Original(EMBEDDED)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("none", [2, 9, 11, 12, 14]),
        ("kept-rows", [2, 9, 11, 12, 13, 14]),
        ("all", [2, 8, 9, 11, 12, 13, 14]),
    ],
)
def test_places_by_hand(policy: NewlinePolicy, expected: list[int]) -> None:
    assert dense_positions(torch.tensor([2, 8, 10, 11]), WIDE, policy).tolist() == expected


def test_nothing_kept_leaves_the_length() -> None:
    assert dense_positions(torch.tensor([], dtype=torch.int64), WIDE, "none").tolist() == [14]


def test_positions_of_a_prompt_by_hand() -> None:
    """Two words, kept tokens at 2, 9, 11 and 12 of 14, three words."""
    request = Request(
        features=torch.zeros(4, 8),
        sequence=torch.arange(4),
        before=[1, 5],
        after=[6, 7, 8],
        places=torch.tensor([2, 9, 11, 12, 14]),
    )
    assert request.positions().tolist() == [0, 1, 4, 11, 13, 14, 16, 17, 18]
    assert (request.num_prompt_tokens, request.shift) == (9, 10)
    compact = replace(request, places=None)
    assert compact.positions().tolist() == list(range(9))
    assert compact.shift == 0


def packed(original: Original, halves: Halves, size: tuple[int, int]) -> list[int]:
    """transformers' own dense sequence, as indices into the flattened P*N; -1 for a newline."""
    model, layout = original.model.model, halves.spec.layout(*size)
    index = torch.arange(layout.valid.numel()).view(*layout.valid.shape, 1).float()
    found, _ = model.pack_image_features(
        [index],
        torch.tensor([size]),
        vision_feature_select_strategy="default",
        image_newline=torch.tensor([-1.0]),
    )
    return [int(value) for value in found[0].flatten()]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("policy", POLICIES)
def test_places_are_those_of_transformers_packing(
    halves: Halves, original: Original, size: tuple[int, int], policy: NewlinePolicy
) -> None:
    layout, dense = halves.spec.layout(*size), packed(original, halves, size)
    (kept,) = halves.encode([picture(*size)], reduction(token_budget=0.15))
    places = dense_positions(kept.place, layout, policy)
    sequence = visual_sequence(kept.place, layout, policy)
    assert int(places[-1]) == len(dense)
    assert (places.diff() > 0).all()
    at = layout.place.flatten().argsort()
    for entry, place in zip(sequence.tolist(), places.tolist(), strict=False):
        assert dense[place] == (-1 if entry == NEWLINE else int(at[kept.place[entry]]))


def test_with_nothing_dropped_both_are_the_same(halves: Halves) -> None:
    images, dense = [picture(*size) for size in SIZES], reduction(token_budget=1.0)
    prompts = [PROMPTS[0]] * len(SIZES)
    compact = halves.requests(images, prompts, dense, "all")
    kept = halves.encode(images, dense)
    gaps = []
    for one, size, tokens in zip(compact, SIZES, kept, strict=True):
        places = dense_positions(tokens.place, halves.spec.layout(*size), "all")
        other = replace(one, places=places)
        assert other.shift == 0
        assert torch.equal(one.positions(), other.positions())
        gaps.append(other)
    # Settings need not say so: one is what they ask for, the other what is done.
    told = halves.requests(images, prompts, dense, "all", "original")
    assert [request.places for request in told] == [None] * len(SIZES)
    found = halves.generate(gaps, max_new_tokens=4)
    assert found == halves.generate(compact, max_new_tokens=4)


@torch.inference_mode()
def greedy(original: Original, request: Request, rotary: list[int]) -> list[int]:
    """Everything anew for each token: no cache, explicit positions, transformers' modules alone."""
    model = original.model.model
    words = model.get_input_embeddings()
    visual = model.multi_modal_projector(request.features)
    entries = [
        model.image_newline if entry == NEWLINE else visual[entry]
        for entry in request.sequence.tolist()
    ]
    before, after = (words(torch.tensor(ids)) for ids in (request.before, request.after))
    embeds = torch.cat([before, torch.stack(entries), after])[None]
    found: list[int] = []
    while len(found) < NEW:
        # Without a mask transformers takes gaps for the borders of packed sequences.
        mask = torch.ones(embeds.shape[:2], dtype=torch.long)
        hidden = model.language_model(
            inputs_embeds=embeds, attention_mask=mask, position_ids=torch.tensor([rotary])
        ).last_hidden_state[0, -1]
        token = int(original.model.lm_head(hidden).argmax())
        if token in original.stop_ids:
            break
        found.append(token)
        embeds = torch.cat([embeds, words(torch.tensor([[token]]))], dim=1)
        rotary = [*rotary, rotary[-1] + 1]
    return found


def rotary_of(request: Request, dense: list[int], kept: Sequence[int]) -> list[int]:
    """Positions of the prompt, by looking each entry up in the dense sequence, in plain Python."""
    before, rows = len(request.before), [at for at, entry in enumerate(dense) if entry == -1]
    positions, last = list(range(before)), -1
    for entry in request.sequence.tolist():
        last = next(r for r in rows if r > last) if entry == NEWLINE else dense.index(kept[entry])
        positions.append(before + last)
    return positions + [before + len(dense) + i for i in range(len(request.after))]


def asked(halves: Halves, budget: float, policy: NewlinePolicy, **how: Any) -> list[Request]:
    """Every question of every image; those of one image share its tensors."""
    settings = reduction(token_budget=budget)
    firsts = halves.requests(
        [picture(*size) for size in SIZES], [PROMPTS[0]] * len(SIZES), settings, policy, **how
    )
    before, after = halves.template.token_ids(PROMPTS[1])
    return [
        request
        for first in firsts
        for request in (first, replace(first, before=before, after=after))
    ]


@pytest.mark.parametrize(
    ("budget", "policy"), [(0.1, "none"), (0.2, "kept-rows"), (0.05, "all"), (1.0, "none")]
)
def test_texts_are_those_of_transformers_with_explicit_positions(
    halves: Halves, original: Original, budget: float, policy: NewlinePolicy
) -> None:
    requests = asked(halves, budget, policy, positions="original")
    settings = reduction(token_budget=budget)
    kept = halves.encode([picture(*size) for size in SIZES], settings)
    expected = []
    for index, request in enumerate(requests):
        size = SIZES[index // len(PROMPTS)]
        at = halves.spec.layout(*size).place.flatten().argsort()
        patches = at[kept[index // len(PROMPTS)].place].tolist()
        rotary = rotary_of(request, packed(original, halves, size), patches)
        assert request.positions().tolist() == rotary
        expected.append(greedy(original, request, rotary))
    # By both backends: slots are refilled, images shared, batches padded.
    found = [c.token_ids for c in halves.generate(requests, max_new_tokens=NEW, batch_size=5)]
    assert found == expected
    compact = asked(halves, budget, policy)
    places = [request.positions().tolist() for request in requests]
    assert places != [request.positions().tolist() for request in compact], "there are no gaps"
    # Gaps at row ends alone need not change what a text says.
    if budget < 1:
        texts = [c.token_ids for c in halves.generate(compact, max_new_tokens=NEW)]
        assert texts != expected, "gaps make no difference"


def test_compact_and_original_share_a_batch_and_no_cells(halves: Halves) -> None:
    gaps = asked(halves, 0.1, "none", positions="original")
    compact = [replace(request, places=None) for request in gaps]
    mixed = [request for pair in zip(gaps, compact, strict=True) for request in pair]
    found = halves.generate(mixed, max_new_tokens=NEW)
    assert found[::2] == halves.generate(gaps, max_new_tokens=NEW)
    assert found[1::2] == halves.generate(compact, max_new_tokens=NEW)


@pytest.mark.parametrize("chunk", [1, 7, 32])
def test_a_prompt_is_read_in_chunks(halves: Halves, chunk: int) -> None:
    requests = asked(halves, 0.1, "none", positions="original")
    settings = GenerationSettings(max_new_tokens=NEW)
    expected = ReferenceBackend(halves.language, settings).generate(requests)
    backend = slot_backend(halves.language, requests, settings, num_slots=2, chunk=chunk)
    assert backend.generate(requests) == expected


def test_positions_beyond_what_the_engine_knows_are_refused(halves: Halves) -> None:
    request = asked(halves, 0.1, "none", positions="original")[0]
    cells = request.num_prompt_tokens + NEW
    furthest = cells + request.shift
    settings = GenerationSettings(max_new_tokens=NEW)
    exact = SlotBackend(halves.language, settings, slot_layout(1, cells, rotary_length=furthest))
    assert exact.generate([request]) == halves.generate([request], max_new_tokens=NEW)
    short = SlotBackend(
        halves.language, settings, slot_layout(1, cells, rotary_length=furthest - 1)
    )
    expected = rf"^{furthest} rotary positions needed, the engine has {furthest - 1}$"
    with pytest.raises(ValueError, match=expected):
        short.generate([request])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_texts_on_a_gpu() -> None:
    """Through CUDA graphs; `generate` with the same positions is the measure."""
    halves = Halves("embedded", device=torch.device("cuda"))
    for policy in POLICIES:
        halves.generate(asked(halves, 0.1, policy, positions="original"), max_new_tokens=NEW)
