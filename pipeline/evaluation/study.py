"""What an evaluation compares: methods and budgets, or the variants of an ablation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

from pipeline.config import SelectionConfig
from pipeline.errors import ConfigError
from pipeline.evaluation.options import Settings
from pipeline.evaluation.questions import BenchmarkImage
from pipeline.evaluation.runs import DENSE, REFERENCE, Variant, grid, run_of

__all__ = ["GRID", "Study", "ablation_study", "study_of"]

GRID: Final = "results"
_AGAINST: Final = {REFERENCE: "hired at the same budget", DENSE: "the dense model"}
_FIRST: Final = "first"


@dataclass(frozen=True, kw_only=True)
class Study:
    """Variants side by side.

    Attributes:
        name: of the files with its results.
        against: what differences are to, by the names in `Variant.against`.
    """

    name: str
    title: str
    variants: tuple[Variant, ...]
    against: Mapping[str, str] = field(default_factory=lambda: _AGAINST)

    @property
    def has_curve(self) -> bool:
        """Whether budgets are what is compared."""
        return self.name == GRID


class AblationVariant(Protocol):
    """A row of an ablation: settings that differ, and which images it is about."""

    @property
    def label(self) -> str: ...
    @property
    def overrides(self) -> Mapping[str, Any]: ...
    @property
    def keep(self) -> Callable[[BenchmarkImage], bool] | None: ...


class Ablation(Protocol):
    """A prepared study."""

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def variants(self) -> Sequence[AblationVariant]: ...


def study_of(settings: Settings, ablations: Mapping[str, Ablation]) -> Study:
    """What the settings ask for.

    Raises:
        ConfigError: for a method, budget or ablation that does not exist.
    """
    asked = settings.evaluation
    if asked.ablation is not None:
        if asked.ablation not in ablations:
            there = ", ".join(ablations)
            raise ConfigError(f"ablation: no {asked.ablation!r}; there are {there}")
        return ablation_study(ablations[asked.ablation], settings.selection)
    variants = grid(asked.method_names, asked.budget_values, settings.selection)
    return Study(name=GRID, title="Accuracy against budget", variants=variants)


def ablation_study(ablation: Ablation, base: SelectionConfig) -> Study:
    """Its variants as changes of `base`, each compared with the first on the same images."""
    return Study(
        name=f"ablation-{ablation.name}",
        title=ablation.title,
        variants=tuple(_ablated(ablation, base)),
        against={_FIRST: "the first row about the same images"},
    )


def _ablated(ablation: Ablation, base: SelectionConfig) -> Iterator[Variant]:
    first: dict[Callable[[BenchmarkImage], bool] | None, str] = {}
    for variant in ablation.variants:
        baseline = first.setdefault(variant.keep, variant.label)
        yield Variant(
            label=variant.label,
            run=run_of(replace(base, **variant.overrides)),
            against={} if baseline == variant.label else {_FIRST: baseline},
            keep=variant.keep,
        )
