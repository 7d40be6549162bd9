"""Command lines from the configuration dataclasses, with one clear line for every mistake.

jsonargparse reads types, defaults and help from the dataclasses and merges YAML files; this module
spells flags with dashes, lets flags override files whatever their order, and rewrites errors.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, NoReturn

from jsonargparse import ActionYesNo, ArgumentParser, set_parsing_settings

from pipeline.config import (
    CaptionConfig,
    GenerationConfig,
    InputConfig,
    JobConfig,
    ModelConfig,
    OutputConfig,
    QuestionConfig,
    RunConfig,
    SelectionConfig,
)
from pipeline.errors import ConfigError

set_parsing_settings(docstring_parse_attribute_docstrings=True)

_SECTIONS = {
    "input": InputConfig,
    "output": OutputConfig,
    "model": ModelConfig,
    "selection": SelectionConfig,
    "generation": GenerationConfig,
    "run": RunConfig,
}


class _Parser(ArgumentParser):
    """Flags with dashes, switches without a value, errors as `ConfigError`."""

    def add_argument(self, *args: Any, **kwargs: Any) -> Any:
        args = tuple(a.replace("_", "-") if a.startswith("--") else a for a in args)
        if kwargs.get("type") is bool:
            del kwargs["type"]
            kwargs["action"] = ActionYesNo(no_prefix="no-")
        return super().add_argument(*args, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise ConfigError(_one_line(message, _keys(self))) from ex


def parse_job(
    argv: Sequence[str], question: type[CaptionConfig] | type[QuestionConfig], description: str
) -> JobConfig:
    """The configuration that `argv` and the files it names describe.

    Raises:
        ConfigError: with one line naming the key, the value and what is allowed.
    """
    sections: dict[str, type[Any]] = {"question": question, **_SECTIONS}
    parser = _parser(sections, description)
    values = _parse(parser, _ordered(argv))
    parts = {
        name: cls(**{f.name: values[f.name] for f in fields(cls)}) for name, cls in sections.items()
    }
    return JobConfig(**parts)


def _parse(parser: _Parser, argv: list[str]) -> dict[str, Any]:
    try:
        return dict(parser.parse_args(argv).as_dict())
    except (TypeError, ValueError) as exc:  # a file whose value is of a wholly different shape
        raise ConfigError(_one_line(str(exc), _keys(parser))) from exc


def _parser(sections: dict[str, type[Any]], description: str) -> _Parser:
    parser = _Parser(description=description, prog=sys.argv[0].removeprefix("./"), add_help=True)
    parser.add_argument(
        "--config", action="config", help="YAML file of settings; flags override it."
    )
    for section in sections.values():
        skip = {"input"} & {f.name for f in fields(section)}
        parser.add_class_arguments(section, None, skip=skip)
        if skip:
            parser.add_argument("--input", nargs="+", type=str, required=True, help=_INPUT_HELP)
    return parser


_INPUT_HELP = (
    "Files, globs, folders or prefixes, as paths or fsspec URLs: Parquet, WebDataset tars, images "
    "and Hugging Face datasets on disk, in any mix."
)


def _ordered(argv: Sequence[str]) -> list[str]:
    """`argv` with underscores in flags as dashes, and files first, so that flags override them."""
    files: list[str] = []
    flags: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--config":
            files += [word, *([following] if (following := next(words, None)) else [])]
        elif word.startswith("--config="):
            files.append(word)
        else:
            name, equals, value = word.partition("=")
            flags.append(name.replace("_", "-") + equals + value if word[:2] == "--" else word)
    return files + flags


def _keys(parser: _Parser) -> list[str]:
    return [action.dest for action in parser._actions]


_RULES = (
    # --input is the only flag that takes several values; a file may hold something else there.
    (r"object is not iterable", "input: expected a list of paths or URLs"),
    (r"Parser key \"(?P<key>[\w.]+)\":\s*(?P<what>.*)", "{key}: {what}"),
    (r"Option '(?P<key>[\w.]+)' is not accepted", "{key}: no such setting"),
    (r"[Uu]nrecognized arguments?:?\s*(?P<key>\S+).*", "{key}: no such setting"),
    (r"the following arguments are required: (?P<key>.*)", "{key}: required, but not given"),
)


def _one_line(message: str, keys: list[str]) -> str:
    text = _wrong_type(" ".join(message.split()))
    for pattern, shape in _RULES:
        if match := re.search(pattern, text):
            found = match.groupdict()
            line = shape.format(**found)
            return line + (_hint(found["key"], keys) if "no such" in line else "")
    return text


_TYPE_NAMES = {"NoneType": "null", "str": "a text", "int": "a whole number", "float": "a number"}


def _wrong_type(text: str) -> str:
    """jsonargparse's report of a wrong type, as 'expected a number, got x'."""
    found = re.search(r"(?:Got value|Given value): (.*)$", text)
    names = re.findall(r"Expected an? (?:<class '([\w.]+)'>|typing\.Literal\[(.*?)\])", text)
    key = re.match(r"Parser key \"([\w.]+)\":", text)
    if not (found and names and key):
        return text
    wanted = " or ".join(_TYPE_NAMES.get(n, n) if n else f"one of {c}" for n, c in names)
    return f'Parser key "{key[1]}": expected {wanted}, got {found[1]!r}'


def _hint(key: str, keys: list[str]) -> str:
    name = key.lstrip("-").partition("=")[0].replace("-", "_")
    near = difflib.get_close_matches(name, keys, n=1)
    return f"; did you mean {near[0]}?" if near else "; --help lists them"
