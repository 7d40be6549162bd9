"""What the page shows: images, questions, and what each run answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from lab.evaluation.page.trace import ImageTrace, Selection

__all__ = ["Answer", "Example", "Run", "Verdict", "budget_text"]

Verdict = Literal["right", "partly", "wrong", "lost", "unscored"]

_ALL_RIGHT: Final = 1 - 1e-6

Run = tuple[str, float]
"""(method, token budget). At a budget of 1 all methods are "dense"."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model said to one question in one run.

    Attributes:
        prediction: None when the row was lost to quarantine.
        score: 0 to 1; None where no reference answer is known.
    """

    method: str
    budget: float
    prediction: str | None
    score: float | None

    @property
    def verdict(self) -> Verdict:
        if self.prediction is None:
            return "lost"
        if self.score is None:
            return "unscored"
        if self.score >= _ALL_RIGHT:
            return "right"
        return "partly" if self.score > 0 else "wrong"


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """One question about one image, with every run's answer and what that run kept.

    Attributes:
        name: what the example is called in its benchmark, a question_id.
        references: reference answers.
        why: how it came to be shown, one sentence.
    """

    name: str
    task: str
    question: str
    references: tuple[str, ...]
    answers: tuple[Answer, ...]
    trace: ImageTrace
    why: str = ""

    @property
    def runs(self) -> dict[Run, Selection]:
        return {run_of(one): one for one in self.trace.selections}


def run_of(selection: Selection) -> Run:
    settings = selection.settings
    return named_run(settings.method, settings.token_budget)


def named_run(method: str, budget: float) -> Run:
    """The run as the page calls it; whatever the method, at 1 it is the dense model."""
    return ("dense", 1.0) if budget == 1 or method == "dense" else (method, budget)


def budget_text(budget: float) -> str:
    """As it is given on the command line: "0.2", "576"."""
    return f"{budget:g}"
