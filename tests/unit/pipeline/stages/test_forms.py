"""Texts of a form through the generate stage: into columns, or into quarantine."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pyarrow as pa
import pytest

from hired_core.choices import BackendName
from hired_core.language.generation import GenerationSettings
from pipeline.rows.errors import ModelError
from pipeline.rows.row import PARSED, to_table
from pipeline.rows.schemas import SELECTED_SCHEMA
from pipeline.settings.config import RunConfig
from pipeline.stages import GenerateStage
from tests.support.resolved import resolved
from tests.unit.pipeline.stages.test_generate import BASE, CONTEXT, PROMPT, Saying, asked

SCHEMA = {
    "type": "object",
    "properties": {"colour": {"enum": ["red", "blue"]}, "n": {"type": "integer", "maximum": 9}},
    "required": ["colour", "n"],
}


def stage_of(backend: BackendName = "slots", **generation: Any) -> GenerateStage:
    settings = GenerationSettings(**{"max_new_tokens": 40} | generation)
    found = resolved(dataclasses.replace(BASE, generation=settings, run=RunConfig(backend=backend)))
    return GenerateStage(dataclasses.replace(CONTEXT, extras=found.extras), found)


def run(stage: GenerateStage, *rows: dict[str, Any]) -> list[dict[str, Any]]:
    table: pa.Table = stage(to_table(list(rows), SELECTED_SCHEMA))
    found: list[dict[str, Any]] = table.to_pylist()
    return found


@pytest.mark.parametrize("backend", ["slots", "reference"])
def test_texts_are_of_the_schema_and_beside_them_their_values(backend: BackendName) -> None:
    rows = run(
        stage_of(backend, schema=SCHEMA),
        asked("wide", PROMPT, "Which colour?", None),
        asked("narrow", PROMPT),
    )
    codes = [row["error_code"] for row in rows]
    assert codes == [None, None, "prompt_missing", None]
    for row in (row for row in rows if row["error_code"] is None):
        assert row[PARSED] == json.loads(row["text"])
        assert row[PARSED]["colour"] in ("red", "blue") and row[PARSED]["n"] <= 9
    assert rows[2][PARSED] is None


def test_a_text_that_the_limit_cuts_short_is_quarantined() -> None:
    (row,) = run(stage_of(schema=SCHEMA, max_new_tokens=5), asked("wide", PROMPT))
    assert (row["error_stage"], row["error_code"]) == ("generate", "output_invalid")
    told = "cut at 5 tokens; no JSON: "
    assert row["error_detail"].startswith(told) and row["error_detail"].endswith(': {"co')
    assert (row[PARSED], row["flags"]) == (None, None)


@pytest.mark.parametrize(
    ("text", "code", "detail"),
    [
        ('{"colour":"red","n":3}', None, None),
        ('{"colour":"red"}', "output_invalid", '\'n\' is a required property: {"colour":"red"}'),
        (f'{{"colour":"red","n":-{2**64}}}', "output_invalid", f"-{2**64} does not fit 64 bits: "),
    ],
)
def test_what_the_model_says_is_looked_at_again(
    text: str, code: str | None, detail: str | None
) -> None:
    stage = stage_of(schema=SCHEMA)
    stage._backend = Saying(stage._backend, text)
    (row,) = run(stage, asked("wide", PROMPT))
    assert row["error_code"] == code
    assert row["error_detail"] is None if detail is None else detail in row["error_detail"]


def test_a_choice_has_a_column() -> None:
    rows = run(stage_of(choices=("red", "a blue one")), asked("wide", PROMPT, "Is it red?"))
    for row in rows:
        assert row["error_code"] is None
        assert row[PARSED] == {"choice": row["text"]} and row["text"] in ("red", "a blue one")


def test_a_slow_tokenizer_is_told_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = GenerationSettings(choices=("a", "b"))
    tokenizer = type(resolved(BASE).template.tokenizer)
    monkeypatch.setattr(tokenizer, "is_fast", property(lambda _: False))
    with pytest.raises(ModelError, match="need a fast tokenizer"):
        resolved(dataclasses.replace(BASE, generation=settings))
