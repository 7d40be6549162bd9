"""Forms of texts: what is refused at the start, and what is wrong with a text at the end."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema.validators import Draft202012Validator

from hired_core.errors import SettingError
from hired_core.language.form import Form
from hired_core.language.generation import GenerationSettings
from hired_core.language.tighten import tighten

COLOUR = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}}


def test_a_file_is_read_once_and_its_content_kept(tmp_path: Path) -> None:
    file = tmp_path / "colour=any.json"
    file.write_text(json.dumps(COLOUR))
    settings = GenerationSettings(schema=file)
    file.unlink()
    assert settings.schema == COLOUR
    assert pickle.loads(pickle.dumps(settings)) == settings == replace(settings, seed=0)
    assert settings.form is not None and settings.form.fault('{"colour":"red"}') is None
    assert GenerationSettings().form is None


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot read .*No such file"),
        ("{", "is no JSON: "),
        ("[1]", "is no JSON object"),
        ('{"type": "strin"}', "no JSON Schema: at type: 'strin'"),
        ('{"properties": {"a": {"minimum": "x"}}}', "no JSON Schema: at properties/a/minimum: "),
        ('{"enum": ["\\ud800"]}', "cannot be written as JSON"),
        ('{"type": "string", "pattern": "(?=a)b"}', "cannot be kept to .*look-a"),
        ('{"$ref": "http://localhost/x"}', "cannot be kept to .*localhost"),
        ('{"type": "object", "properties": {"a": false}, "required": ["a"]}', "cannot be kept to"),
    ],
)
def test_what_is_no_schema_is_told_in_one_line(
    tmp_path: Path, content: str | None, told: str
) -> None:
    file = tmp_path / "form.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingError, match=f"^schema: .*{told}") as caught:
        GenerationSettings(schema=file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"choices": ("",)}, "choices: .*texts with commas"),
        ({"choices": (" , ,",)}, "choices: .*texts with commas"),
        ({"choices": ("a,b", "a")}, "choices: 'a' is there more than once"),
        ({"choices": ("a\nb",)}, "choices: .*texts of one line"),
        ({"choices": ("a",), "schema": COLOUR}, "choices: --schema is given as well"),
    ],
)
def test_choices_that_are_none_are_told(given: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingError, match=f"^{told}"):
        GenerationSettings(**given)


def test_choices_are_what_stands_between_commas() -> None:
    assert GenerationSettings(choices=("red, dark blue", "grün,")).choices == (
        "red",
        "dark blue",
        "grün",
    )


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"colour":"red","n":[1,1]}', "at n: .* non-unique"),
        ('{"colour":"green"}', "at colour: 'green' is not one of"),
        ('{"colour":"re', "no JSON: Unterminated string"),
        ("", "no JSON: Expecting value"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_wrong_with_a_text(text: str, fault: str) -> None:
    properties = {**COLOUR["properties"], "n": {"uniqueItems": True}}  # type: ignore[dict-item]
    form = Form({"type": "object", "properties": properties})
    assert "uniqueItems" in " ".join(form.not_enforced)
    assert form.fault('{"colour":"red","n":[1,2]}') is None
    found = form.fault(text)
    assert found is not None
    with pytest.raises(AssertionError, match=fault):
        raise AssertionError(found)


def test_multiples_are_those_of_the_numbers_as_they_are_written() -> None:
    form = Form({"type": "number", "multipleOf": 0.1})
    assert [form.fault(text) for text in ("0.3", "0.7", "2", "1e30", "-0.0")] == [None] * 5
    assert form.fault("0.35") == "0.35 is not a multiple of 0.1"
    assert form.fault("1e999") is not None
    assert Form({"multipleOf": 3}).fault('"a text"') is None


def test_a_choice_is_one_of_them_to_the_letter() -> None:
    form = Form(None, ["yes", "no"])
    assert form.fault("yes") is None
    assert [form.fault(text) for text in ("ye", "Yes", "")] == ["none of yes, no"] * 3


STRICT: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"type": "integer"}, {"minimum": -(2**53), "maximum": 2**53}),
    ({"type": ["null", "integer"], "minimum": 0}, {"maximum": 2**53}),
    ({"type": "number", "exclusiveMaximum": 1}, {"minimum": -(2**53), "multipleOf": 1e-6}),
    ({"type": "integer", "multipleOf": 5}, {}),
    ({"type": "integer", "minimum": 2**60}, {}),
    ({"type": "number", "enum": [1, 2]}, {}),
    (COLOUR, {"additionalProperties": False}),
    ({**COLOUR, "additionalProperties": True}, {}),
    ({**COLOUR, "anyOf": [{"properties": {"a": {}}, "required": ["a"]}]}, {}),
    ({"enum": [{"type": "integer"}]}, {}),
]


@pytest.mark.parametrize(("schema", "added"), STRICT)
def test_what_is_added_keeps_texts_short(schema: dict[str, Any], added: dict[str, Any]) -> None:
    assert tighten(schema) == {**schema, **added}
    for wrapped in ({"items": schema}, {"properties": {"a": schema}, "minProperties": 1}):
        inner = tighten({"$defs": {"b": wrapped}})["$defs"]["b"]
        assert (inner.get("items") or inner["properties"]["a"]) == {**schema, **added}
    Draft202012Validator.check_schema(tighten(schema))


def test_parts_of_one_object_do_not_shut_out_each_other() -> None:
    part = {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}
    other = {"type": "object", "properties": {"b": {"const": 2}}, "required": ["b"]}
    schema = {"allOf": [part, other]}
    assert tighten(schema) == schema
    assert Form(schema).fault('{"a":1,"b":2}') is None
