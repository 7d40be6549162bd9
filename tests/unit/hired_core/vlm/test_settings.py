"""Settings of visual tokens: what they come to, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from hired_core.choices import DEFAULT_METHOD
from hired_core.errors import SettingError
from hired_core.methods.registry import METHODS, make_options, method, methods_with
from hired_core.vlm.settings import ReductionSettings, changed_options


def counts(**given: Any) -> tuple[int, int]:
    """Visual tokens before and behind the language model, of at most 2880."""
    settings = ReductionSettings(**given)
    return settings.num_before(2880), settings.num_after(2880)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (576, 576)),
        ({"budget": 64}, (64, 64)),
        ({"budget": 5000}, (2880, 2880)),
        ({"method": "dense"}, (2880, 2880)),
        ({"budget": 1, "method": "fastv"}, (2880, 2880)),
        ({"method": "fastv"}, (2880, 576)),
        ({"method": "fastv", "budget": 64}, (2880, 64)),
        ({"budget": 0.4, "llm_method": "fastv"}, (1152, 576)),
        ({"budget": 0.4, "llm_method": "fastv", "llm_budget": 0.1}, (1152, 288)),
        ({"budget": 64, "llm_method": "fastv", "llm_budget": 100}, (64, 64)),
        ({"method": "dense", "llm_method": "fastv", "llm_budget": 0.2}, (2880, 576)),
    ],
)
def test_counts(given: dict[str, Any], expected: tuple[int, int]) -> None:
    assert counts(**given) == expected


def test_what_each_layer_sees() -> None:
    def layers(**given: Any) -> tuple[Any, Any] | None:
        found = ReductionSettings(**given).schedule(2880, 32)
        return None if found is None else (found.layers, found.counts)

    assert layers() is None and layers(method="dense") is None
    assert layers(method="fastv") == ((2,), (576,))
    assert layers(method="fastv", method_options={"depth": 0.5}) == ((16,), (576,))
    assert layers(budget=0.4, llm_method="fastv") == ((2,), (576,))
    assert layers(llm_method="fastv", llm_options={"depth": 0.25}) == ((8,), (288,))
    assert layers(method="fastv", budget=1) is None
    assert layers(method="pyramiddrop", budget=0.125) == ((8, 16, 24), (1440, 720, 360))
    # From what comes in to the budget, whatever a smaller image brings.
    halved = layers(budget=0.5, llm_method="pyramiddrop", llm_budget=180)
    assert halved == ((8, 16, 24), (720, 360, 180))
    assert layers(method="sparsevlm") == ((3, 7, 16), (1570, 1047, 576))
    assert layers(budget=0.4, llm_method="sparsevlm") == ((3, 7, 16), (1152, 1047, 576))
    assert layers(method="dart", method_options={"depth": "0.5"}) == ((16,), (576,))


def test_row_ends_and_positions_follow_what_comes_in() -> None:
    """A method inside the language model is given what the unmodified one would be given."""
    inside = ReductionSettings(method="fastv", positions="original")
    assert inside.newline_policy == "all" and inside.effective_positions == "compact"
    before = ReductionSettings(method="hired", positions="original", llm_method="fastv")
    assert before.newline_policy == "none" and before.effective_positions == "original"
    assert ReductionSettings(method="dense").newline_policy == "all"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"method": "hird"}, "method: no 'hird'; there are distinct, hired, dense, "),
        ({"llm_method": "hired"}, "llm_method: hired works before the language model"),
        ({"method": "fastv", "llm_method": "fastv"}, "llm_method: fastv is one already; leave "),
        ({"llm_budget": 0.1}, "llm_budget: there is no --llm-method that it could be of"),
        ({"llm_options": {"depth": 0.5}}, "llm_options: there is no --llm-method"),
        (
            {"llm_method": "fastv", "llm_options": {"deep": 1}},
            "deep: no option of method fastv",
        ),
        ({"llm_method": "fastv", "llm_budget": 1.5}, "llm_budget: 1.5 is out of range; allowed"),
        ({"method_options": {"alpha": 2}}, "alpha: 2.0 is out of range; allowed: 0 to 1"),
        ({"method_options": {"alpha": "much"}}, "alpha: expected a number, got 'much'"),
        (
            {"method": "hired", "method_options": {"skip_below": 6.5}},
            "skip_below: expected a whole number, got 6.5",
        ),
        (
            {"method": "hired", "method_options": {"skip_below": True}},
            "skip_below: expected a whole number, got Tr",
        ),
        (
            {"budget_basis": "mine"},
            "budget_basis: 'mine' is out of range; allowed: auto, model, image",
        ),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], line: str) -> None:
    with pytest.raises(SettingError) as caught:
        ReductionSettings(**given)
    assert str(caught.value).startswith(line)


def test_options_may_come_as_texts() -> None:
    """As repeated KEY=VALUE on a command line gives them."""
    found = make_options("hired", {"alpha": "0.25", "skip_below": "8", "allocation": "even"})
    assert (found.alpha, found.skip_below, found.allocation) == (0.25, 8, "even")
    assert make_options("average-pool", {"projected": "false"}).projected is False
    with pytest.raises(SettingError, match="projected: expected true or false, got 'no'"):
        make_options("average-pool", {"projected": "no"})


def test_alpha_is_shared_and_an_option_wins() -> None:
    assert ReductionSettings(method="hired", alpha=0.3).options.alpha == 0.3
    both = ReductionSettings(method="hired", alpha=0.3, method_options={"alpha": 0.4})
    assert both.options.alpha == both.effective_alpha == 0.4


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, 0.5),
        ({"method_options": {"allocation": "content"}}, 0.3),
        ({"method": "hired"}, 0.3),
        ({"method": "hired", "method_options": {"allocation": "even"}}, 0.3),
        ({"method": "hired-upstream"}, 0.3),
        # Methods without a full-image's share do not mind, so that one command line serves all;
        # what makes no difference is not recorded.
        ({"method": "average-pool"}, 0.5),
        ({"method": "dense"}, 0.5),
        ({"budget": 1}, 0.5),
        ({"method": "fastv"}, 0.5),
        ({"method": "uniform"}, 0.5),
        ({"method": "uniform", "method_options": {"allocation": "content"}}, 0.3),
        ({"method": "scope", "method_options": {"allocation": "content", "alpha": 0.2}}, 0.2),
        ({"method": "globalcom2"}, 0.5),
        ({"method": "globalcom2", "method_options": {"alpha": 0.2}}, 0.5),
        ({"method": "divprune", "method_options": {"allocation": "global"}}, 0.5),
    ],
)
def test_alpha_is_recorded_where_it_is_used(given: dict[str, Any], expected: float) -> None:
    assert ReductionSettings(**given, alpha=0.3).effective_alpha == expected


def test_another_allocation_is_told() -> None:
    chosen = ReductionSettings(method="uniform", method_options={"allocation": "content"})
    assert chosen.variations == {"allocation": "content"}
    assert ReductionSettings(method="globalcom2").variations == {}
    own = ReductionSettings(method="globalcom2", method_options={"allocation": "equal"})
    assert own.variations == {"allocation": "equal"}


def test_what_differs_from_the_default_is_told() -> None:
    given = {"alpha": 0.3, "allocation": "even"}
    assert changed_options(ReductionSettings(method="hired", method_options=given)) == given
    inside = ReductionSettings(method="hired", llm_method="fastv", llm_budget=0.1)
    assert inside.variations == {"llm_method": "fastv", "llm_budget": 0.1, "llm_options": {}}
    assert ReductionSettings(method="hired").variations == {}
    # Of the default method what it does otherwise than the others is told, too.
    assert ReductionSettings().variations == {"positions": "original"}


def test_the_default_method_is_ours() -> None:
    chosen = ReductionSettings()
    assert chosen.method == chosen.method_names == DEFAULT_METHOD == "distinct"
    assert chosen.options == make_options("distinct", {})
    assert (chosen.token_budget, chosen.newline_policy) == (0.2, "kept-rows")


def test_every_method_is_one() -> None:
    for name in METHODS:
        found = method(name)
        options = found.options()
        found.needs(options)
        assert not found.skips(options)
    assert methods_with("alpha")[:3] == ["distinct", "hired", "hired-upstream"]
    assert methods_with("skip_below") == ["hired"]
