"""The paper's ablations as data: which settings each study compares.

A setting is what it changes of `ReductionSettings`, so that the evaluation job can run it like any
other. Table and figure numbers are those of HiRED (arXiv:2408.10945v3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

__all__ = ["STUDIES", "ImageFilter", "Setting", "Study"]

ImageFilter = Literal["padded", "elongated"]
"""Of all images, those whose sub-images hold padding; those of a 1 x k or k x 1 grid."""

BUDGETS: Final = (0.1, 0.2)
BASE_BUDGET: Final = 0.2


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One line of a study.

    Attributes:
        label: unique within the study.
        selection: fields of `ReductionSettings` and their values, the budget among them.
        images: the images it is measured on; None: all.
    """

    label: str
    selection: Mapping[str, object]
    images: ImageFilter | None = None


@dataclass(frozen=True, kw_only=True)
class Study:
    """Settings to be compared with each other.

    Attributes:
        name: what the command line calls it.
        title: for people.
        mirrors: the figure or table of the paper, or what it says without one.
        tasks: tasks to be looked at above all; empty: all alike.
        curve: the number that the settings vary, where a picture shows it.
    """

    name: str
    title: str
    mirrors: str
    settings: tuple[Setting, ...]
    tasks: tuple[str, ...] = ()
    curve: Literal["alpha"] | None = None


def _setting(
    label: str, budget: float = BASE_BUDGET, images: ImageFilter | None = None, **selection: Any
) -> Setting:
    base = {"method": "hired", "budget": budget}
    return Setting(label=label, selection=base | selection, images=images)


def _alpha() -> tuple[Setting, ...]:
    shares = [tenth / 10 for tenth in range(11)]
    return tuple(_setting(f"alpha {alpha:g}", alpha=alpha) for alpha in shares)


def _layers() -> tuple[Setting, ...]:
    """Each choice of the table on its own, the others as in the paper's method."""
    varied: dict[str, dict[str, Any]] = {
        "hired": {},
        "budget by final layer": {"allocation": "final"},
        "budget evenly": {"allocation": "even"},
        "dropping by middle layer": {"dropping": "middle"},
        "dropping by initial layer": {"dropping": "initial"},
        "one head": {"heads": "none"},
    }
    return tuple(
        _setting(f"{label}, {budget:g}", budget, **selection)
        for budget in BUDGETS
        for label, selection in varied.items()
    )


def _upstream() -> tuple[Setting, ...]:
    """Both are given a fraction of the image's own count, as the published code is.

    Its transposed grid counts on elongated images only: there it is apart from the other quirks.
    """
    own: dict[str, Any] = {"budget_basis": "image"}
    published: dict[str, Any] = own | {"method": "hired-upstream"}
    found = []
    for images in (None, "padded", "elongated"):
        of = f", {images} images" if images else ""
        found += [
            _setting(f"hired{of}", images=images, **own),
            _setting(f"hired-upstream{of}", images=images, **published),
            _setting(
                f"hired-upstream, transposed grid{of}",
                images=images,
                transposed_grid=True,
                **published,
            ),
        ]
    return tuple(found)


def _newlines() -> tuple[Setting, ...]:
    """Dense beside them: the model was trained with all newlines."""
    dropped = tuple(
        _setting(f"newline {policy}, {budget:g}", budget, newline=policy)
        for budget in BUDGETS
        for policy in ("none", "kept-rows", "all")
    )
    dense = tuple(
        _setting(f"newline {policy}, dense", 1.0, newline=policy) for policy in ("none", "all")
    )
    return dropped + dense


def _positions() -> tuple[Setting, ...]:
    """With newlines of kept rows too, whose place says more where places are kept."""
    return tuple(
        _setting(
            f"{positions}, newline {policy}, {budget:g}",
            budget,
            positions=positions,
            newline=policy,
        )
        for budget in BUDGETS
        for policy in ("none", "kept-rows")
        for positions in ("compact", "original")
    )


def _skip_below() -> tuple[Setting, ...]:
    return tuple(
        _setting(f"skip below {least}, {budget:g}", budget, skip_below=least)
        for budget in BUDGETS
        for least in (0, 2, 4, 8, 16)
    )


def _distinct() -> tuple[Setting, ...]:
    """What the default method is made of, each part otherwise; and its rivals given the same."""
    own = {"method": "distinct"}
    placed: dict[str, Any] = {"positions": "original", "newline": "kept-rows"}
    varied: dict[str, dict[str, Any]] = {
        "distinct": own,
        "without row ends": own | {"newline": "none"},
        "closed up": own | {"positions": "compact"},
        "closed up, without row ends": own | {"positions": "compact", "newline": "none"},
        "budget evenly": own | {"allocation": "equal"},
        "budget by content, alpha 0.3": own | {"allocation": "content", "alpha": 0.3},
        "no budgets": own | {"allocation": "global"},
        "sharpness 5": own | {"sharpness": 5.0},
        "sharpness 20": own | {"sharpness": 20.0},
        "sharpness 60": own | {"sharpness": 60.0},
        "subtracting, as id-selection": placed
        | {"method": "id-selection", "allocation": "globalcom2", "sharpness": 10.0},
        "importance alone, as globalcom2": placed | {"method": "globalcom2"},
        "hired in its places": placed,
        "hired": {},
    }
    return tuple(
        _setting(f"{label}, {budget:g}", budget, **selection)
        for budget in BUDGETS
        for label, selection in varied.items()
    )


STUDIES: Final[dict[str, Study]] = {
    study.name: study
    for study in (
        Study(
            name="alpha",
            title="Share of the budget for the full-image",
            mirrors="Fig. 6",
            settings=_alpha(),
            curve="alpha",
        ),
        Study(
            name="layers",
            title="Layers and heads whose attention allocates and drops",
            mirrors="Table 5",
            settings=_layers(),
        ),
        Study(
            name="upstream",
            title="The paper's method and its published code",
            mirrors="none; the published code departs from the paper",
            settings=_upstream(),
        ),
        Study(
            name="newlines",
            title="Row-end newlines when tokens are dropped",
            mirrors="none; the published code has no newlines",
            settings=_newlines(),
        ),
        Study(
            name="positions",
            title="Positions of kept tokens: compact, or as in the dense sequence",
            mirrors="future work",
            settings=_positions(),
            tasks=("spatial", "chart"),
        ),
        Study(
            name="skip_below",
            title="Sub-images that would get few tokens are not encoded",
            mirrors="none; an option of this project",
            settings=_skip_below(),
        ),
        Study(
            name="distinct",
            title="What the default method is made of",
            mirrors="none; a method of this project",
            settings=_distinct(),
        ),
    )
}
