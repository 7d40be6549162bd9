"""Which visual tokens the language model sees: settings, validated where they are declared.

Field names are keys of YAML files and flags of the command line; the string under each is its help.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, Literal

from hired_core.choices import DEFAULT_METHOD, BudgetBasis, NewlinePolicy, Positions
from hired_core.errors import SettingError, require
from hired_core.methods import registry

if TYPE_CHECKING:
    from hired_core.methods.base import Method
    from hired_core.methods.schedule import KeepSchedule

DENSE: Final = "dense"
_UPSTREAM: Final = "hired-upstream"
_OF_OLD: Final = ("alpha", "skip_below", "transposed_grid")


@dataclass(frozen=True, kw_only=True)
class ReductionSettings:
    """Visual tokens"""

    budget: float | None = None
    """Visual tokens kept: a share, 1 (all) or a count. Below 1, or as 20%, a share of the model's
    largest count (2880 for LLaVA-Next), 1 the unmodified model, above 1 a count. Default: 0.2,
    dense 1."""
    method: str = DEFAULT_METHOD
    """Which: distinct, hired, dense or another of docs/methods.md. distinct: the best there is
    without training; hired: as the paper; hired-upstream: as its published code, quirks included;
    dense: all; uniform, stride, random: baselines. A name that is none tells those there are."""
    method_options: dict[str, Any] = field(default_factory=dict)
    """Options of the method, e.g. '{"sharpness": 20}'; docs/methods.md lists them. A wrong
    name tells those there are."""
    llm_method: str | None = None
    """Method inside the language model, after --method: fastv or another."""
    llm_budget: float | None = None
    """Visual tokens that --llm-method keeps. As --budget; default: half of what --method keeps."""
    llm_options: dict[str, Any] = field(default_factory=dict)
    """Options of --llm-method, e.g. '{"depth": 0.125}'."""
    alpha: float | None = None
    """Share of the budget for the full-image, 0 to 1, of hired, hired-upstream and any method with
    the option allocation=content. Default: 0.5."""
    budget_basis: BudgetBasis = "model"
    """What a fraction is taken of: the model's largest count, the same for every image, or the
    count of this image's own grid."""
    newline: Literal["auto", "none", "kept-rows", "all"] = "auto"
    """Row-end newline embeddings. 'auto': all when nothing is dropped, as the model was trained,
    else as the method works best; of those of papers, none."""
    positions: Literal["auto", "compact", "original"] = "auto"
    """Where the language model sees the kept tokens. 'compact': one after another. 'original':
    where they are in the unmodified model's input, with gaps for what was dropped. 'auto': as the
    method works best; of those of papers, compact."""

    def __post_init__(self) -> None:
        self._check_budget("budget", self.budget)
        self._check_budget("llm_budget", self.llm_budget)
        self._check_methods()
        alpha = self.alpha
        require(alpha is None or 0 <= alpha <= 1, "alpha", alpha, "0 to 1")
        require(self.budget_basis in ("model", "image"), "budget_basis", self.budget_basis,
                "model, image")  # fmt: skip
        _ = self.options, self._inside()

    def _check_methods(self) -> None:
        chosen = registry.method(self.method)
        if self.llm_method is None:
            for key in ("llm_budget", "llm_options"):
                if getattr(self, key):
                    raise SettingError(f"{key}: there is no --llm-method that it could be of")
            return
        if registry.method(self.llm_method).schedule is None:
            raise SettingError(f"llm_method: {self.llm_method} works before the language model")
        if chosen.schedule is not None:
            raise SettingError(f"llm_method: {self.method} is one already; leave one of them out")

    def _check_budget(self, key: str, budget: float | None) -> None:
        if budget is None:
            return
        whole = budget <= 1 or budget == int(budget) if math.isfinite(budget) else False
        allowed = "0 < x < 1 (a fraction), 1 (dense) or a whole number above 1 (a count)"
        require(budget > 0 and whole, key, budget, allowed)
        if key == "budget" and self.method == DENSE and budget != 1:
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
    def keeps_all_before(self) -> bool:
        """Whether the language model is given what the unmodified one would be given."""
        return self.effective_method == DENSE or registry.method(self.method).schedule is not None

    def num_before(self, nominal: int) -> int:
        """The most visual tokens that an image brings to the language model.

        Args:
            nominal: `ModelSpec.nominal_tokens`.
        """
        return nominal if self.resolve()[0].keeps_all else _count(self.token_budget, nominal)

    def num_after(self, nominal: int) -> int:
        """The most that are left behind the language model's last layer."""
        if self.effective_method == DENSE and self.llm_method is None:
            return nominal
        if self.llm_method is None:
            return _count(self.token_budget, nominal)
        before = self.num_before(nominal)
        if self.llm_budget is None:
            return max(1, before // 2)
        return min(before, _count(self.llm_budget, nominal))

    def schedule(self, nominal: int, num_layers: int) -> KeepSchedule | None:
        """What each layer of the language model sees; None: all that comes in.

        Raises:
            ValueError: if the decoder has too few layers for it.
        """
        inside = self._inside()
        if inside is None:
            return None
        found, options = inside
        assert found.schedule is not None, "checked when this was made"
        after, before = self.num_after(nominal), self.num_before(nominal)
        return found.schedule(after, before, num_layers, options)

    def _inside(self) -> tuple[Method, Any] | None:
        """The method inside the language model, and its options."""
        if self.llm_method is not None:
            options = registry.make_options(self.llm_method, self.llm_options)
            return registry.method(self.llm_method), options
        chosen = registry.method(self.method)
        return None if chosen.schedule is None or self.token_budget == 1 else (chosen, self.options)

    @property
    def effective_method(self) -> str:
        """A budget of 1 is the dense model, whatever the method, but for the published code."""
        dense = self.token_budget == 1 and self.method != _UPSTREAM
        return DENSE if dense else self.method

    @property
    def method_names(self) -> str:
        """ "hired", or "hired+fastv" where one inside the language model comes after it."""
        inside = f"+{self.llm_method}" if self.llm_method is not None else ""
        return f"{self.effective_method}{inside}"

    @property
    def newline_policy(self) -> NewlinePolicy:
        if self.newline != "auto":
            return self.newline
        return "all" if self.keeps_all_before else self.resolve()[0].newline

    @property
    def effective_positions(self) -> Positions:
        """Both are the same where the input is the unmodified model's."""
        whole = self.keeps_all_before and self.newline_policy == "all"
        if whole:
            return "compact"
        return self.resolve()[0].positions if self.positions == "auto" else self.positions

    @property
    def transposed_grid(self) -> bool:
        """Whether images are laid out as the published code does."""
        return bool(getattr(self.options, "transposed_grid", False))

    @property
    def alpha_matters(self) -> bool:
        """Whether the method has a share of the full-image that could be set."""
        from hired_core.methods.allocation import AllocationOptions

        options = self.options
        if isinstance(options, AllocationOptions) and options.allocation != "content":
            return False
        return self.effective_method != DENSE and hasattr(options, "alpha")

    @property
    def effective_alpha(self) -> float:
        """Share of the full-image; 0.5 where the method has none, or an allocation without one."""
        return float(self.options.alpha) if self.alpha_matters else 0.5

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
        if self.llm_method is not None:
            chosen |= {"llm_method": self.llm_method, "llm_budget": self.llm_budget}
            chosen |= {"llm_options": dict(self.llm_options)}
        return chosen


def _count(token_budget: float, nominal: int) -> int:
    from hired_core.methods.budget import token_budget_to_count

    count = token_budget_to_count(token_budget, nominal=nominal, own=nominal)
    return nominal if count is None else min(count, nominal)


def changed_options(settings: ReductionSettings) -> Mapping[str, Any]:
    """The method's options that are not at their defaults."""
    options = settings.options
    return {
        each.name: getattr(options, each.name)
        for each in fields(options)
        if getattr(options, each.name) != each.default
    }
