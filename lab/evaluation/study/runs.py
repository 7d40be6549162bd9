"""Which runs of the job an evaluation is made of, and the rows of its table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from hired_core.errors import SettingError
from hired_core.methods.registry import METHODS
from hired_core.vlm.settings import ReductionSettings, changed_options
from pipeline.rows.errors import ConfigError

__all__ = [
    "DENSE",
    "REFERENCE",
    "Run",
    "Variant",
    "grid",
    "label_of",
    "run_of",
    "runs_of",
    "varied",
]

DENSE: Final = "dense"
REFERENCE: Final = "hired"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of the job; its folder is named by `label`."""

    label: str
    reduction: ReductionSettings


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A row of the table: a run, looked at on all images or on some.

    Attributes:
        against: labels of the variants that it is compared with, by what they are called: "dense".
        images: a detail of questions that is "yes" for the images that count; None: all.
    """

    label: str
    run: Run
    against: Mapping[str, str] = field(default_factory=dict)
    images: str | None = None


def grid(
    methods: Sequence[str], budgets: Sequence[float], base: ReductionSettings
) -> tuple[Variant, ...]:
    """Every method at every budget, but the dense model once.

    Each is compared with `hired` at its budget and with the dense model, where they are run.

    Raises:
        ConfigError: for a method or budget that does not exist.
    """
    found: dict[str, Run] = {}
    try:
        for run in _grid_runs(methods, budgets, base):
            found.setdefault(run.label, run)
    except SettingError as exc:
        raise ConfigError(str(exc)) from exc
    runs = list(found.values())
    return tuple(Variant(label=run.label, run=run, against=_against(run, runs)) for run in runs)


def _grid_runs(
    methods: Sequence[str], budgets: Sequence[float], base: ReductionSettings
) -> Iterator[Run]:
    names = [_known(method) for method in methods]
    for budget in budgets:
        for method in names:
            if method != DENSE:
                yield run_of(replace(base, method=method, budget=budget))
    if DENSE in methods:
        yield run_of(replace(base, method=DENSE, budget=1.0))


def _known(method: str) -> str:
    if method not in METHODS:
        raise ConfigError(f"methods: no {method!r}; there are {', '.join(METHODS)}")
    return method


def varied(base: ReductionSettings, changes: Mapping[str, Any]) -> ReductionSettings:
    """`base` with some settings changed; what is no setting is an option of the method."""
    names = {each.name for each in fields(base)}
    own = {key: value for key, value in changes.items() if key in names}
    options = {key: value for key, value in changes.items() if key not in names}
    return replace(base, **own, method_options=base.method_options | options)


def run_of(reduction: ReductionSettings) -> Run:
    """With the label that its settings give it."""
    return Run(label=label_of(reduction), reduction=reduction)


def label_of(reduction: ReductionSettings) -> str:
    """Method and budget, and everything else that is not at its default.

    "hired-0.2", "dense", "hired-0.2-alpha-0.7": the same settings have the same folder in every
    evaluation.
    """
    method = reduction.effective_method
    parts = [method] if method == DENSE else [method, f"{reduction.token_budget:g}"]
    default = ReductionSettings()
    settings = ("budget_basis", "effective_alpha", "newline", "positions")
    chosen = {key: getattr(reduction, key) for key in settings}
    chosen = {k: v for k, v in chosen.items() if v != getattr(default, k)}
    for key, value in {**chosen, **changed_options(reduction)}.items():
        if key != "alpha":
            parts += [key.removeprefix("effective_").replace("_", "-"), str(value)]
    return re.sub(r"[^\w.-]+", "-", "-".join(parts))


def _against(run: Run, runs: Sequence[Run]) -> dict[str, str]:
    """The dense one and `hired` at the same budget, where they are among `runs` and not `run`."""
    if _is_dense(run):
        return {}
    budget = run.reduction.token_budget
    found: dict[str, str] = {}
    for other in runs:
        if other.reduction.method == REFERENCE and other.reduction.token_budget == budget:
            found[REFERENCE] = other.label
        if _is_dense(other):
            found[DENSE] = other.label
    return {name: label for name, label in found.items() if label != run.label}


def _is_dense(run: Run) -> bool:
    return run.reduction.effective_method == DENSE


def runs_of(variants: Sequence[Variant]) -> tuple[Run, ...]:
    """Each once, in the order in which they are first wanted."""
    return tuple({variant.run.label: variant.run for variant in variants}.values())
