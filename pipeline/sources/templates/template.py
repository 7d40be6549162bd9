"""A prompt with columns in it: `The alt text is: {{ alt }}. Describe the image.`"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from jinja2 import Template, TemplateError, TemplateSyntaxError, Undefined, meta

from pipeline.rows.errors import ConfigError
from pipeline.sources.templates.sandbox import TICK, Budget, TemplateSandbox
from pipeline.sources.templates.spans import marked, unmarked, without_control

__all__ = ["RenderError", "TooLongError", "columns_of_template", "is_template", "render"]

_MARKS: Final = ("{{", "{%", "{#")


class RenderError(ValueError):
    """A row of which no prompt can be made."""


class TooLongError(RenderError):
    """The prompt would have too many characters."""


class _NullError(Exception):
    """A null is to be printed."""


def is_template(text: str) -> bool:
    """Whether `text` is more than words."""
    return any(mark in text for mark in _MARKS)


@lru_cache
def columns_of_template(text: str) -> tuple[str, ...]:
    """Which columns a prompt names, sorted; none of words alone.

    Raises:
        ConfigError: if it is no template, or uses what templates here have not.
    """
    if not is_template(text):
        return ()
    try:
        named = meta.find_undeclared_variables(_sandbox().parse(text))
        _compiled(text)
    except TemplateSyntaxError as exc:
        raise ConfigError(f"prompt: line {exc.lineno} of {text!r}: {exc.message}") from exc
    except TemplateError as exc:
        raise ConfigError(f"prompt: {text!r}: {exc}") from exc
    return tuple(sorted(named - {"range"}))


def render(
    text: str, values: Mapping[str, Any], *, max_chars: int, control_tokens: tuple[str, ...]
) -> str:
    """The prompt of one row.

    Of a text in `values` the first `max_chars` + 1 characters are seen. Control tokens that a value
    brings in are broken by a blank.

    Args:
        values: by column; a column that is not there is null.

    Raises:
        TooLongError: if it has more than `max_chars` characters.
        RenderError: if a null is printed, something is not there, or it takes too much.
    """
    names = columns_of_template(text)
    seen = {name: _seen(values.get(name), max_chars + 1) for name in names}
    try:
        rendered = _joined(_compiled(text), seen, max_chars)
        plain = without_control(rendered, control_tokens)
    except _NullError as exc:
        nulls = ", ".join(name for name in names if seen[name] is None) or "a part of a value"
        hint = "{{ x or 'none' }} tells what to write then"
        raise RenderError(f"prints what is null: {nulls}; {hint}") from exc
    except RenderError:
        raise
    # What an expression can raise of a value: jinja2 hands on Python's own errors.
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as exc:
        raise RenderError(f"the template fails: {exc}") from exc
    except (AttributeError, RecursionError, MemoryError) as exc:
        raise RenderError(f"the template fails: {type(exc).__name__}") from exc
    if len(plain) > max_chars:
        raise TooLongError(f"{len(plain)} characters, the limit is {max_chars}")
    return plain


def _joined(template: Template, values: Mapping[str, Any], max_chars: int) -> str:
    pieces: list[str] = []
    num_chars = 0
    for piece in template.generate({**values, TICK: Budget().tick}):
        num_chars += len(unmarked(piece))
        if num_chars > max_chars:
            raise TooLongError(f"over {max_chars} characters")
        pieces.append(piece)
    return "".join(pieces)


def _seen(value: Any, max_chars: int) -> Any:
    """`value` with texts cut, and without marks."""
    if isinstance(value, bytes):
        value = value[: 4 * max_chars].decode("utf-8", "replace")
    if isinstance(value, str):
        return unmarked(value[:max_chars])
    if isinstance(value, list | tuple):
        return [_seen(each, max_chars) for each in value]
    if isinstance(value, dict):
        return {_seen(key, max_chars): _seen(each, max_chars) for key, each in value.items()}
    return value


def _printed(value: Any) -> Any:
    if value is None:
        raise _NullError
    return value if isinstance(value, Undefined) else marked(str(value))


@lru_cache
def _sandbox() -> TemplateSandbox:
    return TemplateSandbox(finalize=_printed)


@lru_cache
def _compiled(text: str) -> Template:
    sandbox = _sandbox()
    return sandbox.from_string(sandbox.counted(unmarked(text)))
