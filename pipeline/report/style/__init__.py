"""The look that all pages of this project share, in light and in dark: one style sheet.

What a page draws is its own: see `pipeline.report.showing.templates` and `lab.evaluation.page`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["base_style", "page_style"]

_HERE: Final = Path(__file__).parent


def base_style() -> str:
    """CSS: colours, type, tables, verdicts."""
    return (_HERE / "base.css").read_text(encoding="utf-8")


def page_style() -> str:
    """CSS: also tiles, cards of rows, charts, and the line that finds among them."""
    return base_style() + (_HERE / "parts.css").read_text(encoding="utf-8")
