"""Any allocation with any selection: exact counts, valid tokens only, whatever shares the batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from hired_core.errors import SettingError
from hired_core.methods.base import Needs
from hired_core.methods.registry import make_options, method
from tests.support.evidence import (
    ALLOCATIONS,
    GROUPED,
    MERGING,
    PAIRS,
    SIZES,
    kept,
    layout_of,
    random_evidence,
    reduce,
)

images = st.lists(
    st.tuples(st.sampled_from(SIZES), st.integers(0, 999), st.integers(0, 90)),
    min_size=1,
    max_size=3,
)


def test_the_methods_of_the_papers_are_among_them() -> None:
    assert {"uniform", "stride", "random", "globalcom2", "hiprune", "vispruner"} <= set(GROUPED)
    assert {"scope", "id-selection", "divprune", "divprune-cen", "holov"} <= set(GROUPED)
    assert set(MERGING) == {"visionzip", "prumerge", "prumerge-plus"}


@pytest.mark.parametrize("name", GROUPED)
@settings(max_examples=20, deadline=None)
@given(images, st.sampled_from(ALLOCATIONS))
def test_exactly_the_budget_of_valid_tokens(name: str, batch: Any, allocation: str) -> None:
    assume((name, allocation) in PAIRS)
    sizes, seeds, budgets = zip(*batch, strict=True)
    evidence = random_evidence(sizes, seeds, budgets)
    found = reduce(name, evidence, budgets, allocation=allocation)
    keep = kept(name, evidence, budgets, allocation=allocation)
    assert not (keep & ~evidence.layout.valid).any()
    for row, (size, budget) in enumerate(zip(sizes, budgets, strict=True)):
        room = layout_of(size).valid.sum(-1)
        wanted = min(budget, int(room.sum()))
        assert int(found.count[row]) == int(keep[row].sum()) == wanted
        assert torch.equal(found.budgets[row], keep[row].sum(-1))
        assert (found.budgets[row, : len(room)] <= room).all()
        place = found.place[row, :wanted]
        assert (place.diff() > 0).all()
        where = evidence.layout.place[row].flatten()[found.source[row, :wanted]]
        assert torch.equal(place, where)


@pytest.mark.parametrize(("name", "allocation"), PAIRS)
def test_nothing_depends_on_the_batch(name: str, allocation: str) -> None:
    sizes, seeds, budgets = SIZES[1:5], range(4), [9, 31, 64, 3]
    together = random_evidence(sizes, seeds, budgets)
    found = reduce(name, together, budgets, allocation=allocation)
    for row, (size, seed, budget) in enumerate(zip(sizes, seeds, budgets, strict=True)):
        alone = random_evidence([size], [seed], [budget])
        own = reduce(name, alone, [budget], allocation=allocation)
        count, patches = int(own.count), layout_of(size).valid.numel()
        assert int(found.count[row]) == count
        assert torch.equal(found.place[row, :count], own.place[0, :count])
        if own.weights is None:
            assert found.weights is None
            continue
        assert found.weights is not None
        torch.testing.assert_close(
            found.weights[row, :count, :patches], own.weights[0, :count], atol=1e-6, rtol=1e-6
        )
        assert not found.weights[row, :count, patches:].any()


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", GROUPED)
def test_attention_that_says_nothing(name: str, value: float) -> None:
    """All zeros, or one value that is no number: exact counts of valid tokens all the same."""
    sizes, budgets = [(90, 112), (56, 112)], [20, 9]
    evidence = random_evidence(sizes, [1, 2], budgets)
    shown = evidence.attention["final"].clone()
    early, late = (each.clone() for each in evidence.received.values())
    for each in (shown, early, late):
        each[..., slice(5, 6) if value else slice(None)] = value
    evidence = replace(
        evidence,
        attention={"final": shown},
        received=dict(zip(evidence.received, (early, late), strict=True)),
        full_image_attention=shown[:, 0],
    )
    for allocation in (each for each in ALLOCATIONS if (name, each) in PAIRS):
        keep = kept(name, evidence, budgets, allocation=allocation)
        assert keep.sum((1, 2)).tolist() == budgets
        assert not (keep & ~evidence.layout.valid).any()


@pytest.mark.parametrize("name", ["divprune", "divprune-cen", "scope", "id-selection", "vispruner"])
def test_features_that_say_nothing(name: str) -> None:
    """All alike, all zeros, or one token that is no number."""
    evidence = random_evidence([(90, 112), (56, 112)], [1, 2], [20, 9])
    assert evidence.features is not None
    broken = evidence.features.clone()
    broken[:, :, 3] = float("nan")
    for features in (torch.ones_like(broken), torch.zeros_like(broken), broken):
        keep = kept(name, replace(evidence, features=features), [20, 9])
        assert keep.sum((1, 2)).tolist() == [20, 9]
        assert not (keep & ~evidence.layout.valid).any()


@pytest.mark.parametrize("name", MERGING)
def test_merging_needs_partitions(name: str) -> None:
    with pytest.raises(
        SettingError, match=r"^allocation: 'global' has no partitions, within which"
    ):
        make_options(name, {"allocation": "global"})


def needs(name: str, **options: Any) -> Needs:
    return method(name).needs(make_options(name, options))


def test_what_is_looked_at() -> None:
    """A selection's own, and its allocation's; what is compared with what."""
    final = ("final",)
    assert needs("stride") == Needs()
    assert needs("uniform") == Needs(cls_layers=final)
    assert needs("uniform", allocation="global") == Needs(cls_layers=final)
    content = Needs(cls_layers=final, full_image_layer="initial")
    assert needs("uniform", allocation="content") == content
    assert needs("globalcom2") == Needs(cls_layers=final, full_image_layer="final")
    assert needs("divprune") == Needs(projected=True, pairs="image")
    assert needs("divprune", allocation="equal") == Needs(projected=True, pairs="partition")
    scope = Needs(cls_layers=final, features=True, pairs="partition")
    assert needs("scope") == scope and needs("vispruner") == scope
    assert needs("scope", allocation="global") == replace(scope, pairs="image")
    both = Needs(received_layers=(0.36, "final"))
    assert needs("hiprune") == both
    assert needs("hiprune", object_layer=0.5).received_layers == (0.5, "final")
    zip_ = Needs(cls_layers=final, keys_layer="final", pairs="partition")
    assert needs("visionzip") == needs("prumerge") == zip_
    assert needs("visionzip", allocation="globalcom2").full_image_layer == "final"


def test_needs_of_two_together() -> None:
    one = Needs(cls_layers=("final",), keys_layer="final", features=True, pairs="image")
    other = Needs(cls_layers=("initial", "final"), received_layers=(0.5,), pairs="partition")
    both = one.also(other)
    assert both == Needs(
        cls_layers=("final", "initial"),
        received_layers=(0.5,),
        keys_layer="final",
        features=True,
        pairs="image",
    )
    assert other.also(one).pairs == "image" and Needs().also(Needs()) == Needs()
    assert Needs().also(Needs(keys_layer="middle", projected=True)).keys_layer == "middle"
    assert one.also(Needs(keys_layer="final")).keys_layer == "final"
    with pytest.raises(ValueError, match=r"keys_layer: .* but there can be only one"):
        one.also(Needs(keys_layer="initial"))
    with pytest.raises(ValueError, match="full_image_layer: "):
        Needs(full_image_layer="initial").also(Needs(full_image_layer="final"))


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        (
            "uniform",
            {"allocation": "even"},
            "allocation: 'even' is out of range; allowed: equal, c",
        ),
        ("uniform", {"alpha": 1.5}, "alpha: 1.5 is out of range; allowed: 0 to 1"),
        ("hiprune", {"anchors": -0.1}, "anchors: -0.1 is out of range; allowed: 0 to 1"),
        ("hiprune", {"object_layer": 2}, "object_layer: 2.0 is out of range; allowed: 0 to 1"),
        ("vispruner", {"importance": 2}, "importance: 2.0 is out of range; allowed: 0 to 1"),
        ("scope", {"exponent": -1}, "exponent: -1.0 is out of range; allowed: 0 or more"),
        ("id-selection", {"sharpness": 0}, "sharpness: 0.0 is out of range; allowed: above 0"),
        ("holov", {"chunks": 0}, "chunks: 0 is out of range; allowed: 1 or more"),
        ("visionzip", {"dominant": 0}, "dominant: 0.0 is out of range; allowed: above 0, to 1"),
        ("visionzip", {"contextual": "max"}, "contextual: 'max' is out of range; allowed: mean, s"),
        ("prumerge", {"counts": "all"}, "counts: 'all' is out of range; allowed: budget, adaptive"),
        ("prumerge", {"merge": "max"}, "merge: 'max' is out of range; allowed: average, sum"),
        ("prumerge", {"neighbours": -1}, "neighbours: -1 is out of range; allowed: 0 or more"),
        (
            "scope",
            {"heads": "none"},
            "heads: no option of method scope; it has allocation, alpha, ",
        ),
    ],
)
def test_options_that_cannot_be(name: str, options: dict[str, Any], line: str) -> None:
    with pytest.raises(SettingError) as caught:
        make_options(name, options)
    assert str(caught.value).startswith(line)
