"""What a budget is for a model, in words, and what is likely a slip."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pipeline.accounting.token_budget import asked, doubts, kept_words
from pipeline.command_line.cli import parse_job
from pipeline.settings.config import CaptionConfig
from tests.support.settings import reduction

NOMINAL = 2880


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "budget 0.2: 576 of at most 2,880 per image"),
        ({"budget": 20}, "budget 20 (a count): 20 of at most 2,880 per image"),
        ({"budget": 1}, "budget 1: all, at most 2,880 per image"),
        ({"method": "dense"}, "budget 1: all, at most 2,880 per image"),
        (
            {"budget": 0.1, "budget_basis": "image"},
            "budget 0.1 of each image's own: 288 of at most 2,880 per image",
        ),
        (
            {"budget": 1, "llm_method": "fastv", "llm_budget": 0.5},
            "budget 1 and llm_budget 0.5: 1,440 of at most 2,880 per image",
        ),
        ({"budget": 99999}, "budget 99999 (a count): 2,880 of at most 2,880 per image"),
    ],
)
def test_what_was_asked(settings: dict[str, Any], words: str) -> None:
    assert asked(reduction(**settings), NOMINAL) == words


@pytest.mark.parametrize("text", ["20%", "20 %", "0.2"])
def test_per_cent(text: str) -> None:
    argv = ["--input", "x", "--output", "y", "--budget", text]
    assert parse_job(argv, CaptionConfig, "").reduction.budget == pytest.approx(0.2)


def test_a_hundred_per_cent_is_dense() -> None:
    argv = ["--input", "x", "--output", "y", "--budget", "100%"]
    assert parse_job(argv, CaptionConfig, "").reduction.token_budget == 1


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"budget": 20}, "budget: 20 is a count, 0.7% of the 2,880 .*; 20 per cent is 20%"),
        ({"budget": 99999}, "budget: 99,999 tokens are no fewer than the 2,880 .*nothing is"),
        ({"budget": 2880}, "nothing is dropped"),
        ({"llm_method": "fastv", "llm_budget": 5}, "llm_budget: 5 is a count"),
        ({"alpha": 0.2, "method": "distinct"}, "alpha: .* distinct has no such"),
        ({"alpha": 0.2, "method": "hired", "budget": 1}, "alpha: .* dense has no such"),
    ],
)
def test_likely_slips_are_told(settings: dict[str, Any], told: str) -> None:
    (found,) = doubts(reduction(**settings), NOMINAL)
    assert re.search(told, found), found


@pytest.mark.parametrize(
    "settings",
    [{}, {"budget": 0.001}, {"budget": 640}, {"budget": 29}, {"alpha": 0.2, "method": "hired"}],
)
def test_others_are_not(settings: dict[str, Any]) -> None:
    assert doubts(reduction(**settings), NOMINAL) == []


def test_why_the_share_is_larger_than_asked() -> None:
    report = {
        "visual_tokens_dense": 2000,
        "visual_tokens_kept": 576,
        "visual_tokens_nominal": NOMINAL,
        "token_budget_asked": "budget 0.2",
        "images": 1,
    }
    assert kept_words(report) == "576 kept of 2,000 (29%); budget 0.2; these images have fewer"
    full = report | {"visual_tokens_dense": NOMINAL}
    assert kept_words(full) == "576 kept of 2,880 (20%); budget 0.2"
    none = report | {"visual_tokens_dense": 0, "visual_tokens_kept": 0, "images": 0}
    assert kept_words(none) == "0 kept of 0 (-); budget 0.2"
