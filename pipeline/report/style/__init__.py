"""The look that all pages of this project share, in light and in dark: one style sheet.

What a page draws is its own: see `pipeline.report.showing.templates` and `lab.evaluation.page`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["base_style"]

_BASE: Final = Path(__file__).with_name("base.css")


def base_style() -> str:
    """CSS: colours, type, tables, verdicts."""
    return _BASE.read_text(encoding="utf-8")
