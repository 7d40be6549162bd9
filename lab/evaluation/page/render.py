"""The self-contained page: no request leaves it, and its own policy forbids any."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Final

from lab.evaluation.page.answers import answer_table
from lab.evaluation.page.board import board, budgets_of, definitions, masks, methods_of
from lab.evaluation.page.examples import Example, budget_text
from pipeline.report.style import base_style

__all__ = ["render_page"]

_HERE: Final = Path(__file__).parent
_SHOWN_FIRST: Final = 0.2
_OVERLAYS: Final = {
    "kept": "kept patches",
    "initial": "attention, initial layer",
    "final": "attention, final layer",
}
_LEGEND: Final = """
<p>Each board shows one method: the full-image, then the sub-images where they lie in the image. A
square is a patch of the vision transformer, one visual token. <b>Clear, outlined</b> patches are
kept; <b>dimmed</b> ones are dropped before the language model; <b>hatched</b> ones are padding and
no tokens. The numbers say how many of a partition's patches are kept; <i>score</i> is the visual
content score, the share of the full-image's attention that falls on a sub-image.</p>
<p>Methods that merge give the language model rows that each sum several patches. Every row has a
<b>colour</b>, and the more of a patch it takes, the denser that lies on it; where rows share
patches, later ones lie over earlier ones. Methods inside the language model drop visual tokens
between its layers: a note says how many, and what is drawn is what goes in.</p>
<p>The attention maps show CLS attention summed over heads, its square root, from dark to each
partition's own largest value. Of the initial layer, methods look at the full-image's alone.</p>
"""


def render_page(examples: Sequence[Example], *, title: str, notes: Sequence[str] = ()) -> str:
    """HTML of all examples, grouped by neighbouring tasks; all text is escaped.

    Args:
        notes: sentences under the title: the model, how examples were picked.
    """
    methods, budgets = methods_of(examples), budgets_of(examples)
    style, script = base_style() + _read("style.css"), _read("script.js")
    pictures = "".join(definitions(one.trace, n) for n, one in enumerate(examples))
    data = json.dumps([masks(one) for one in examples], separators=(",", ":"))
    noted = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(script)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body>"
        f"<header><h1>{escape(title)}</h1>{noted}<details><summary>How to read this page</summary>"
        f"{_LEGEND}</details></header>{_controls(methods, budgets)}"
        "<noscript><p>Kept patches are drawn by a script, which is turned off.</p></noscript>"
        f'<svg class="definitions" aria-hidden="true"><defs>{_HATCH}{pictures}</defs></svg>'
        f"<main>{_tasks(examples, methods, budgets)}</main>"
        f'<script type="application/json" id="masks">{data}</script>'
        f"<script>{script}</script></body></html>\n"
    )


_HATCH: Final = (
    '<pattern id="hatch" width=".5" height=".5" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect width=".5" height=".5" class="ground"/>'
    '<rect width=".12" height=".5" class="line"/></pattern>'
)


def _read(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _policy(script: str) -> str:
    """Only this script runs, even should a text get past escaping; pictures are data URIs."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    sources = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return f"{sources}; script-src 'sha256-{digest}'"


def _controls(methods: Sequence[str], budgets: Sequence[float]) -> str:
    first = min(budgets, key=lambda budget: abs(budget - _SHOWN_FIRST))
    chosen = {name: name in methods[:2] for name in methods}
    sizes = {budget_text(budget): budget == first for budget in budgets}
    return (
        '<details class="controls" open><summary>Showing <span id="state"></span></summary><form>'
        f"{_choice('Methods', 'checkbox', 'method', chosen)}"
        f"{_choice('Token budget', 'radio', 'budget', sizes)}"
        f"{_choice('Show', 'radio', 'overlay', {key: key == 'kept' for key in _OVERLAYS})}"
        "</form></details>"
    )


def _choice(legend: str, kind: str, name: str, options: dict[str, bool]) -> str:
    inputs = "".join(
        f'<label><input type="{kind}" name="{name}" value="{escape(value)}"'
        f"{' checked' if on else ''}>{escape(_OVERLAYS.get(value, value))}</label>"
        for value, on in options.items()
    )
    return f"<fieldset><legend>{legend}</legend>{inputs}</fieldset>"


def _tasks(examples: Sequence[Example], methods: Sequence[str], budgets: Sequence[float]) -> str:
    parts = []
    for task, group in groupby(enumerate(examples), key=lambda pair: pair[1].task):
        articles = "".join(_article(one, n, methods, budgets) for n, one in group)
        parts.append(f"<section><h2>{escape(task)}</h2>{articles}</section>")
    return "".join(parts)


def _article(
    example: Example, number: int, methods: Sequence[str], budgets: Sequence[float]
) -> str:
    has = {method for method, _ in example.runs}
    boards = "".join(board(example, number, method) for method in methods if method in has)
    height, width = example.trace.size
    truth = " · ".join(example.references)
    reference = f"<p>Reference: <b>{escape(truth)}</b></p>" if truth else ""
    about = f"{example.name}, {width} x {height} pixels. {example.why}"
    return (
        f'<article data-example="{number}"><h3>{escape(example.question)}</h3>{reference}'
        f'<p class="about">{escape(about)}</p><div class="boards">{boards}</div>'
        f"{answer_table(example, methods, budgets)}</article>"
    )
