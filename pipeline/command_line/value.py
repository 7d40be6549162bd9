"""Values of settings: of the type that is wanted, from a file or as they are typed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from pipeline.command_line.setting import Setting
from pipeline.rows.errors import ConfigError

__all__ = ["typed", "value_of"]

_SHOWN: Final = 80


def value_of(setting: Setting, given: Any) -> Any:
    """What `given`, a text or a value out of a YAML file, is as a value of the setting.

    Raises:
        ConfigError: naming the setting, what is expected and, unless it may be secret, the value.
    """
    if given is None:
        if setting.nullable:
            return None
        raise ConfigError(f"{setting.name}: null is no value for it; leave it out")
    for kind in setting.kinds:
        try:
            return _reader(kind)(given)
        except (TypeError, ValueError, OverflowError):
            continue
    words = ["a text, or texts by name"] if setting.is_named else map(_words, setting.kinds)
    wanted = " or ".join([*words, *(["null"] if setting.nullable else [])])
    got = "" if setting.secret else f", got {_clipped(given)!r}"
    raise ConfigError(f"{setting.name}: expected {wanted}{got}")


def typed(setting: Setting, text: str) -> Any:
    """What of a command line stands for, as a file would hold it: null, or an entry of a mapping.

    Entries are JSON where they can be, else texts: `grid=6`, `deep=true`, `name=any text`.
    """
    if text == "null" and setting.nullable:
        return None
    key, equals, value = text.partition("=")
    if (
        not setting.is_mapping
        or Path in setting.kinds
        or not equals
        or text.lstrip().startswith("{")
    ):
        return text
    try:
        return {key: json.loads(value)}
    except ValueError:
        return {key: value}


def _reader(kind: Any) -> Callable[[Any], Any]:
    origin = get_origin(kind)
    if origin is Literal:
        return lambda given: _one_of(given, get_args(kind))
    return _READERS[origin or kind]


def _text(given: Any) -> str:
    if not isinstance(given, str):
        raise TypeError
    return given


def _path(given: Any) -> Path:
    return Path(_text(given))


def _whole(given: Any) -> int:
    # A bool is an int to Python, and int() would cut 1.5 down to 1.
    if isinstance(given, bool | float):
        raise TypeError
    return int(given)


def _number(given: Any) -> float:
    if isinstance(given, bool):
        raise TypeError
    if isinstance(given, str) and given.rstrip().endswith("%"):
        return float(given.rstrip().removesuffix("%")) / 100
    return float(given)


def _truth(given: Any) -> bool:
    if not isinstance(given, bool):
        raise TypeError
    return given


def _texts(given: Any) -> list[str]:
    if not isinstance(given, list | tuple):
        raise TypeError
    return [_text(item) for item in given]


def _mapping(given: Any) -> dict[str, Any]:
    found = json.loads(given) if isinstance(given, str) else given
    if not isinstance(found, dict):
        raise TypeError
    return {_text(key): value for key, value in found.items()}


def _one_of(given: Any, choices: tuple[Any, ...]) -> Any:
    if given not in choices:
        raise ValueError
    return given


_READERS: Final[dict[Any, Callable[[Any], Any]]] = {
    str: _text,
    int: _whole,
    float: _number,
    bool: _truth,
    Path: _path,
    list: _texts,
    tuple: lambda given: tuple(_texts(given)),
    dict: _mapping,
    Mapping: _mapping,
}
"""A kind that is missing here is a mistake in the dataclass, told by a KeyError."""

_LIST: Final = "a list of texts, e.g. [a, b]"
_MAPPING: Final = "a JSON object, or KEY=VALUE once or more"
_WORDS: Final[dict[Any, str]] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Path: "a path",
    list: _LIST,
    tuple: _LIST,
    dict: _MAPPING,
    Mapping: _MAPPING,
}


def _words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(repr, get_args(kind)))}"
    return _WORDS[get_origin(kind) or kind]


def _clipped(given: Any) -> str:
    text = str(given)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
