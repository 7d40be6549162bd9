"""Texts that are to have a form: into columns, or into quarantine."""

from __future__ import annotations

from typing import Final

from hired_core.language.generation import GenerationSettings
from pipeline.rows.parsing import Parser
from pipeline.rows.row import PARSED, Row, fail

__all__ = ["FormChecker"]

_FAULT: Final = 90
"""Characters of what is wrong with a text; the text comes after it."""


class FormChecker:
    """Told once which form; without one it passes everything."""

    def __init__(self, settings: GenerationSettings) -> None:
        self._form = settings.form
        self._parser = None if self._form is None else Parser(self._form)
        self._limit = settings.max_new_tokens

    def enter(self, row: Row, stage: str) -> None:
        """The columns of an answered row's text; or the row fails, the text in its detail."""
        if self._form is None or self._parser is None:
            return
        fault = self._form.fault(row["text"])
        if fault is None:
            try:
                row[PARSED] = self._parser(row["text"])
                return
            except OverflowError as exc:
                fault = str(exc)
        cut = f"cut at {self._limit} tokens; " if row["finish_reason"] == "length" else ""
        fail(row, stage, "output_invalid", f"{cut}{fault[:_FAULT]}: {row['text']}")
