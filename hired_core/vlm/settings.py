"""Which visual tokens the language model sees: settings, validated where they are declared.

Field names are keys of YAML files and flags of the command line; the string under each is its help.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Literal

from hired_core.choices import BudgetBasis, NewlinePolicy, Positions
from hired_core.errors import SettingError, require
from hired_core.methods import registry

if TYPE_CHECKING:
    from hired_core.methods.base import Method

DENSE: Final = "dense"
_UPSTREAM: Final = "hired-upstream"
_OF_OLD: Final = ("alpha", "skip_below", "transposed_grid")


@dataclass(frozen=True, kw_only=True)
class ReductionSettings:
    """Visual tokens"""

    budget: float | None = None
    """Visual tokens kept: a fraction, 1 (all) or a count. Below 1 a fraction of the model's largest
    count (2880 for LLaVA-Next), 1 the unmodified model, above 1 a count. Default: 0.2, dense 1."""
    method: str = "hired"
    """Which: hired, dense, uniform, average-pool, fastv or another. hired: as the paper;
    hired-upstream: as its published code, quirks included; dense: all; average-pool: means; fastv:
    dropped inside the language model; uniform, stride, random: baselines."""
    method_options: dict[str, Any] = field(default_factory=dict)
    """Options of the method, e.g. '{"allocation": "even"}'; docs/methods.md lists them. A wrong
    name tells those there are."""
    alpha: float | None = None
    """Share of the budget for the full-image, 0 to 1, of methods that have one. Default: 0.5."""
    budget_basis: BudgetBasis = "model"
    """What a fraction is taken of: the model's largest count, the same for every image, or the
    count of this image's own grid."""
    newline: Literal["auto", "none", "kept-rows", "all"] = "auto"
    """Row-end newline embeddings. 'auto': all when nothing is dropped, as the model was trained,
    else none."""
    positions: Positions = "compact"
    """Where the language model sees the kept tokens. 'compact': one after another. 'original':
    where they are in the unmodified model's input, with gaps for what was dropped."""

    def __post_init__(self) -> None:
        registry.method(self.method)
        self._check_budget()
        alpha = self.alpha
        require(alpha is None or 0 <= alpha <= 1, "alpha", alpha, "0 to 1")
        require(self.budget_basis in ("model", "image"), "budget_basis", self.budget_basis,
                "model, image")  # fmt: skip
        _ = self.options

    def _check_budget(self) -> None:
        budget = self.budget
        if budget is None:
            return
        whole = budget <= 1 or budget == int(budget) if math.isfinite(budget) else False
        allowed = "0 < x < 1 (a fraction), 1 (dense) or a whole number above 1 (a count)"
        require(budget > 0 and whole, "budget", budget, allowed)
        if self.method == DENSE and budget != 1:
            raise SettingError(
                f"budget: {budget} contradicts --method dense, which keeps everything"
            )

    @property
    def token_budget(self) -> float:
        """What the user asked for, with the default filled in."""
        if self.budget is not None:
            return self.budget
        return 1.0 if self.method == DENSE else 0.2

    @property
    def options(self) -> Any:
        """The method's own options."""
        known = [each.name for each in fields(registry.method(self.method).options)]
        shared = {"alpha": self.alpha} if "alpha" in known and self.alpha is not None else {}
        return registry.make_options(self.method, {**shared, **self.method_options})

    def resolve(self) -> tuple[Method, Any]:
        """The method to run and its options.

        At a budget of 1 every method is the unmodified model, the published code with its lossy
        floors too.
        """
        if self.token_budget == 1:
            return registry.method(DENSE), registry.make_options(DENSE, {})
        return registry.method(self.method), self.options

    @property
    def effective_method(self) -> str:
        """A budget of 1 is the dense model, whatever the method, but for the published code."""
        dense = self.token_budget == 1 and self.method != _UPSTREAM
        return DENSE if dense else self.method

    @property
    def newline_policy(self) -> NewlinePolicy:
        if self.newline != "auto":
            return self.newline
        return "all" if self.effective_method == DENSE else "none"

    @property
    def effective_positions(self) -> Positions:
        """Both are the same where the input is the unmodified model's."""
        whole = self.effective_method == DENSE and self.newline_policy == "all"
        return "compact" if whole else self.positions

    @property
    def transposed_grid(self) -> bool:
        """Whether images are laid out as the published code does."""
        return bool(getattr(self.options, "transposed_grid", False))

    @property
    def effective_alpha(self) -> float:
        """Share of the full-image; what was asked for, or 0.5, where a method has none."""
        return float(getattr(self.options, "alpha", 0.5 if self.alpha is None else self.alpha))

    @property
    def effective_skip_below(self) -> int:
        """Nothing is skipped where nothing is dropped."""
        if self.effective_method == DENSE:
            return 0
        return int(getattr(self.options, "skip_below", 0))

    @property
    def variations(self) -> dict[str, Any]:
        """What is not the default and makes a difference, by name; `alpha` and what else was always
        recorded apart."""
        chosen: dict[str, Any] = {}
        if self.effective_positions != "compact":
            chosen["positions"] = self.effective_positions
        if self.effective_method != DENSE:
            chosen |= {k: v for k, v in changed_options(self).items() if k not in _OF_OLD}
        return chosen


def changed_options(settings: ReductionSettings) -> Mapping[str, Any]:
    """The method's options that are not at their defaults."""
    options = settings.options
    return {
        each.name: getattr(options, each.name)
        for each in fields(options)
        if getattr(options, each.name) != each.default
    }
