"""The table of an example's answers, one row per method and one column per budget."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from lab.evaluation.page.examples import Answer, Example, Run, Verdict, budget_text, named_run

__all__ = ["answer_table"]

_MARKS: Final[dict[Verdict, str]] = {
    "right": "✓",
    "partly": "◐",
    "wrong": "✗",
    "lost": "!",
    "unscored": "",
}
_WORDS: Final[dict[Verdict, str]] = {
    "right": "right",
    "partly": "partly right",
    "wrong": "wrong",
    "lost": "in quarantine",
    "unscored": "",
}


def answer_table(example: Example, methods: Sequence[str], budgets: Sequence[float]) -> str:
    """Verdicts are told by mark, word and number; colour only repeats them."""
    found: dict[Run, Answer] = {named_run(one.method, one.budget): one for one in example.answers}
    if not found:
        return ""
    heads = "".join(f'<th scope="col">{budget_text(budget)}</th>' for budget in budgets)
    rows = "".join(_row(found, method, budgets) for method in methods)
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Answers of all runs">'
        f'<table style="--budgets:{len(budgets)}">'
        "<caption>Answers by method and token budget</caption>"
        f'<thead><tr><th scope="col">method</th>{heads}</tr></thead><tbody>{rows}</tbody>'
        "</table></div>"
    )


def _row(found: dict[Run, Answer], method: str, budgets: Sequence[float]) -> str:
    if method == "dense":
        cells = _cell(found.get(("dense", 1.0)), 1.0, len(budgets))
    else:
        cells = "".join(_cell(found.get((method, budget)), budget) for budget in budgets)
    name = escape(method)
    return f'<tr data-method="{name}"><th scope="row">{name}</th>{cells}</tr>'


def _cell(answer: Answer | None, budget: float, span: int = 1) -> str:
    inside = "" if answer is None else _verdict(answer) + _prediction(answer)
    return f'<td data-budget="{budget_text(budget)}" colspan="{span}">{inside}</td>'


def _verdict(answer: Answer) -> str:
    verdict = answer.verdict
    if verdict == "unscored":
        return ""
    score = "" if answer.score is None or verdict == "lost" else f" {answer.score:.2f}"
    mark = f'<span aria-hidden="true">{_MARKS[verdict]}</span>'
    return f'<span class="verdict {verdict}">{mark} {_WORDS[verdict]}{score}</span> '


def _prediction(answer: Answer) -> str:
    return f'<span class="said">{escape(answer.prediction or "")}</span>'
