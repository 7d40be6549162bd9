"""What an evaluation compares: methods and budgets, or the variants of an ablation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from hired_core.vlm.settings import ReductionSettings
from lab.evaluation.options import Settings
from lab.evaluation.results.plot import Axis
from lab.evaluation.study.runs import DENSE, REFERENCE, Variant, grid, run_of, varied
from pipeline.rows.errors import ConfigError

__all__ = ["GRID", "Ablation", "Study", "ablation_study", "studies_of"]

ALL: Final = "all"
GRID: Final = "results"
_AGAINST: Final = {REFERENCE: "hired at the same budget", DENSE: "the dense model"}
_FIRST: Final = "first"


@dataclass(frozen=True, kw_only=True)
class Study:
    """Variants side by side.

    Attributes:
        name: of the files with its results.
        against: what differences are to, by the names in `Variant.against`.
        curve: what a picture of the results has across; None: there is no picture.
    """

    name: str
    title: str
    variants: tuple[Variant, ...]
    against: Mapping[str, str] = field(default_factory=lambda: _AGAINST)
    curve: Axis | None = None


class Setting(Protocol):
    """A row of an ablation: fields of `ReductionSettings`, and a detail that its images have."""

    @property
    def label(self) -> str: ...
    @property
    def selection(self) -> Mapping[str, Any]: ...
    @property
    def images(self) -> str | None: ...


class Ablation(Protocol):
    """A prepared study."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def settings(self) -> Sequence[Setting]: ...
    @property
    def curve(self) -> Axis | None: ...


def studies_of(settings: Settings, ablations: Mapping[str, Ablation]) -> tuple[Study, ...]:
    """What the settings ask for: one study, or with `--ablation all` every one there is.

    Raises:
        ConfigError: for a method, budget or ablation that does not exist.
    """
    asked = settings.evaluation
    if asked.ablation is not None:
        if asked.ablation not in (ALL, *ablations):
            there = ", ".join((ALL, *ablations))
            raise ConfigError(f"ablation: no {asked.ablation!r}; there are {there}")
        chosen = ablations if asked.ablation == ALL else [asked.ablation]
        return tuple(ablation_study(ablations[name], settings.reduction) for name in chosen)
    variants = grid(asked.method_names, asked.budget_values, settings.reduction)
    return (Study(name=GRID, title="Accuracy against budget", variants=variants, curve="budget"),)


def ablation_study(ablation: Ablation, base: ReductionSettings) -> Study:
    """Its settings as changes of `base`, each compared with the first that is comparable."""
    return Study(
        name=f"ablation-{ablation.name}",
        title=ablation.title,
        variants=tuple(_ablated(ablation, base)),
        against={_FIRST: "the first row with the same budget and images"},
        curve=ablation.curve,
    )


def _ablated(ablation: Ablation, base: ReductionSettings) -> Iterator[Variant]:
    first: dict[tuple[float, str | None], str] = {}
    for setting in ablation.settings:
        run = run_of(varied(base, setting.selection))
        baseline = first.setdefault((run.reduction.token_budget, setting.images), setting.label)
        against = {} if baseline == setting.label else {_FIRST: baseline}
        yield Variant(label=setting.label, run=run, against=against, images=setting.images)
