"""What texts may be: JSON of a schema, or one of several texts.

`llguidance` makes a grammar of it, which the backends keep to (`hired_core.language.grammar`), and
`jsonschema` judges what came out. Both are loaded where there is a form.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from hired_core.errors import SettingError, require
from hired_core.language.tighten import tighten

__all__ = ["Form", "read_schema", "split_choices"]


class Form:
    """Checked when it is made; what is wrong with a schema or with choices is one line.

    Args:
        schema: a JSON Schema, draft 2020-12 unless it names another; None for choices.
        choices: different texts, of which each text is one; empty with a schema.

    Attributes:
        grammar: in llguidance's dialect of Lark. A blank may come first, since that is how many
            models begin; it is no part of the text.
        not_enforced: what of a schema the grammar leaves to `fault`, in llguidance's words.

    Raises:
        SettingError: naming `schema` or `choices`, and what is wrong.
    """

    def __init__(self, schema: Mapping[str, Any] | None, choices: Sequence[str] = ()) -> None:
        if schema is not None and choices:
            raise SettingError("choices: --schema is given as well; leave one of them out")
        self.schema, self.choices = schema, tuple(choices)
        self.grammar: str
        self.not_enforced: tuple[str, ...]
        self._validator = _validator(schema) if schema is not None else None
        if schema is None:
            _check_choices(self.choices)
            self.grammar, self.not_enforced = _of_choices(self.choices), ()
        else:
            self.grammar, self.not_enforced = _of_schema(schema)

    def fault(self, text: str) -> str | None:
        """Why `text` is not of the form; None if it is."""
        from referencing.exceptions import Unresolvable

        if self._validator is None:
            return None if text in self.choices else f"none of {', '.join(self.choices)}"
        try:
            value = json.loads(text)
            error = next(self._validator.iter_errors(value), None)
        except ValueError as exc:
            return f"no JSON: {exc}"
        except RecursionError:
            return "no JSON that can be read: it is nested too deeply"
        except Unresolvable as exc:  # In a part of the schema that no grammar is made of.
            return f"the schema refers to what is not there: {exc}"
        return None if error is None else _told(error)


def read_schema(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        SettingError: if there is no such file, or no JSON object in it.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise SettingError(f"schema: cannot read '{path}': {exc.strerror}") from exc
    except (ValueError, RecursionError) as exc:
        raise SettingError(f"schema: '{path}' is no JSON: {exc}") from exc
    if not isinstance(found, dict):
        raise SettingError(f"schema: '{path}' is no JSON object, as a schema is")
    return found


def split_choices(choices: Sequence[str]) -> tuple[str, ...]:
    """Texts between commas, without blanks around them: `a,b` and `a, b` are two."""
    if not choices:
        return ()
    texts = [text.strip() for item in choices for text in item.split(",")]
    found = tuple(text for text in texts if text)
    require(bool(found), "choices", list(choices), "texts with commas between them")
    return found


def _check_choices(choices: Sequence[str]) -> None:
    doubled = sorted({text for text in choices if choices.count(text) > 1})
    if doubled:
        raise SettingError(f"choices: {', '.join(map(repr, doubled))} is there more than once")
    for text in choices:
        require(text.isprintable(), "choices", text, "texts of one line")


def _validator(schema: Mapping[str, Any]) -> Any:
    """Of the draft that the schema names; what lies elsewhere is not fetched."""
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, extend, validator_for
    from referencing import Registry

    if not isinstance(schema, Mapping):
        raise SettingError(f"schema: {type(schema).__name__} is no JSON object, as a schema is")
    kind = extend(validator_for(schema, default=Draft202012Validator), {"multipleOf": _is_multiple})
    try:
        json.dumps(schema, ensure_ascii=False).encode()
        kind.check_schema(schema)
    except (TypeError, ValueError) as exc:
        raise SettingError(f"schema: it cannot be written as JSON: {exc}") from exc
    except SchemaError as exc:
        raise SettingError(f"schema: no JSON Schema: {_told(exc)}") from exc
    return kind(schema, registry=Registry())


def _is_multiple(validator: Any, step: Any, value: Any, schema: Any) -> Iterator[Any]:
    """As the numbers are written: of binary fractions 0.3 is no multiple of 0.1."""
    from jsonschema.exceptions import ValidationError

    if validator.is_type(value, "number") and Fraction(str(value)) % Fraction(str(step)):
        yield ValidationError(f"{value!r} is not a multiple of {step}")


def _told(error: Any) -> str:
    at = "/".join(map(str, error.absolute_path))
    return f"at {at}: {error.message}" if at else str(error.message)


def _of_choices(choices: Sequence[str]) -> str:
    texts = " | ".join(json.dumps(text) for text in choices)
    return f'start: " "? ({texts})'


def _of_schema(schema: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The grammar, and what it does not enforce; of the schema as it is where it cannot be tighter.

    Raises:
        SettingError: with what llguidance says of it.
    """
    from llguidance import LLMatcher

    lines: tuple[str, ...] = ()
    for form in (tighten(schema), schema):
        grammar = f'start: " "? text\ntext: %json {json.dumps({**form, "x-guidance": _COMPACT})}'
        failed, messages = LLMatcher.validate_grammar_with_warnings(grammar)
        lines = tuple(" ".join(message.split()) for message in messages)
        if not failed:
            return grammar, lines
    raise SettingError(f"schema: it cannot be kept to while generating: {'; '.join(lines)}")


_COMPACT: Final = {
    "whitespace_flexible": False,
    "lenient": True,  # What it cannot do it tells; `Form.fault` sees to that.
    "json_allowed_escapes": 'nrbtf\\"',  # By \uXXXX, halves of characters could be written.
}
