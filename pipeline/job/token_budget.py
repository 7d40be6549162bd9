"""The token budget in words: what was asked, what that is for this model, what it may not mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from hired_core.vlm.settings import ReductionSettings

_FEW: Final = 0.01
"""A count below this share of the model's largest is likely meant as per cent."""


def asked(settings: ReductionSettings, nominal: int) -> str:
    """ "budget 0.2: 576 of at most 2,880 per image", for the plan and the summary.

    Args:
        nominal: `ModelSpec.nominal_tokens`.
    """
    kept, budget = settings.num_after(nominal), settings.token_budget
    if settings.effective_method == "dense" and settings.llm_method is None:
        return f"budget 1: all, at most {nominal:,} per image"
    inside = f" and llm_budget {settings.llm_budget or 'half'}" if settings.llm_method else ""
    of_what = " of each image's own" if budget < 1 and settings.budget_basis == "image" else ""
    count = " (a count)" if budget > 1 else ""
    return f"budget {budget:g}{count}{of_what}{inside}: {kept:,} of at most {nominal:,} per image"


def doubts(settings: ReductionSettings, nominal: int) -> list[str]:
    """What was asked and is likely not what is wanted, one line each."""
    found = [
        doubt
        for name in ("budget", "llm_budget")
        if (doubt := _count(name, getattr(settings, name), nominal)) is not None
    ]
    if settings.alpha is not None and not settings.alpha_matters:
        found.append(f"alpha: changes nothing, {settings.effective_method} has no such share")
    return found


def kept_words(report: Mapping[str, Any]) -> str:
    """What came of it, for the summary.

    A budget is a count for every image: of images with fewer tokens than the model's largest it
    keeps a larger share, and that is why the shares differ.
    """
    dense, kept = report["visual_tokens_dense"], report["visual_tokens_kept"]
    share = f"{kept / dense:.0%}" if dense else "-"
    words = f"{kept:,} kept of {dense:,} ({share}); {report['token_budget_asked']}"
    smaller = dense < report["images"] * report["visual_tokens_nominal"]
    return f"{words}; these images have fewer" if smaller and dense else words


def _count(name: str, budget: float | None, nominal: int) -> str | None:
    if budget is None or budget <= 1:
        return None
    if budget >= nominal:
        return (
            f"{name}: {budget:,.0f} tokens are no fewer than the {nominal:,} that an image has at "
            "most: nothing is dropped"
        )
    if budget < _FEW * nominal and budget <= 100:
        return (
            f"{name}: {budget:g} is a count, {budget / nominal:.1%} of the {nominal:,} that an "
            f"image has at most; {budget:g} per cent is {budget:g}%"
        )
    return None
