"""Command lines from the configuration dataclasses, with one clear line for every mistake.

jsonargparse reads types, defaults and help from the dataclasses and merges YAML files; this module
spells flags with dashes, lets flags override files whatever their order, and rewrites errors.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from functools import partial
from types import NoneType
from typing import Any, Final, NoReturn, get_args, get_type_hints

from jsonargparse import ActionYesNo, ArgumentParser, set_parsing_settings

from hired_core.errors import SettingError
from hired_core.vlm.settings import ReductionSettings
from pipeline.rows.errors import ConfigError
from pipeline.rows.redact import redact_text
from pipeline.settings.config import (
    CaptionConfig,
    GenerationConfig,
    InputConfig,
    JobConfig,
    ModelConfig,
    OutputConfig,
    QuestionConfig,
    RunConfig,
)

set_parsing_settings(docstring_parse_attribute_docstrings=True)

_SECTIONS: Final[dict[str, type[Any]]] = {
    "input": InputConfig,
    "output": OutputConfig,
    "reduction": ReductionSettings,
    "model": ModelConfig,
    "generation": GenerationConfig,
    "run": RunConfig,
}


class _Parser(ArgumentParser):
    """Flags with dashes, switches without a value, errors as `ConfigError`."""

    def add_argument(self, *args: Any, **kwargs: Any) -> Any:
        args = tuple(a.replace("_", "-") if a.startswith("--") else a for a in args)
        if kwargs.get("type") is not bool:
            return super().add_argument(*args, **kwargs)
        del kwargs["type"]
        action = super().add_argument(*args, action=ActionYesNo(no_prefix="no-"), **kwargs)
        action._check_type = partial(_boolean, action.dest)
        return action

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        raise ConfigError(redact_text(_one_line(message, _keys(self)))) from ex


def _boolean(key: str, value: object) -> bool:
    """A switch's value in a file; jsonargparse's own complaint would not name the key."""
    check: Any = ActionYesNo._boolean_type
    try:
        return bool(check(value))
    except TypeError:
        raise ConfigError(f"{key}: expected true or false, got {str(value)!r}") from None


def parse_job(
    argv: Sequence[str], question: type[CaptionConfig] | type[QuestionConfig], description: str
) -> JobConfig:
    """The configuration that `argv` and the files it names describe.

    Raises:
        ConfigError: with one line naming the key, the value and what is allowed.
    """
    found = parse_sections(
        argv,
        {**_SECTIONS, "question": question},
        description=description,
        usage="--input PATH... --output URL [--budget X] [--config FILE] [OPTION]...",
        input_help=_INPUT_HELP,
    )
    return JobConfig(**found)


def parse_sections(
    argv: Sequence[str],
    sections: Mapping[str, type[Any]],
    *,
    description: str,
    usage: str,
    input_help: str,
    without: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """An object of each of `sections`, by their names; one of them has a list `input`.

    Args:
        without: as "section.name", settings without a flag of their own. They take the value of
            another section's setting of that name, or else keep their defaults.

    Raises:
        ConfigError: with one line naming the key, the value and what is allowed.
    """
    parser = _Parser(
        description=description,
        prog=sys.argv[0].removeprefix("./"),
        add_help=True,
        # Abbreviated, `--conf FILE` would be read after the flags that are meant to override it.
        allow_abbrev=False,
    )
    parser.usage = f"{parser.prog} {usage}"
    _add_input(parser, sections, input_help)
    parser.add_argument(
        "--config", action="config", help="YAML file of settings; flags override it."
    )
    for name, section in sections.items():
        skipped = {f.name for f in fields(section) if f"{name}.{f.name}" in without}
        if any(f.name == "input" for f in fields(section)):
            skipped.add("input")
        parser.add_class_arguments(section, None, skip=skipped)
    values = _parse(parser, _ordered(argv))
    return {name: _section(cls, values) for name, cls in sections.items()}


def _add_input(parser: _Parser, sections: Mapping[str, type[Any]], help: str) -> None:
    """The only flag that takes several values; required where its field has no default."""
    found = [f for section in sections.values() for f in fields(section) if f.name == "input"]
    required = any(field.default_factory is MISSING for field in found)
    more: dict[str, Any] = {"required": True} if required else {"default": []}
    parser.add_argument("--input", nargs="+", type=str, help=help, **more)


def _section(cls: type[Any], values: dict[str, Any]) -> Any:
    """jsonargparse lets a file set anything to null; here only what may be null."""
    hints = get_type_hints(cls)
    names = [field.name for field in fields(cls) if field.name in values]
    for name in names:
        if values[name] is None and NoneType not in get_args(hints[name]):
            raise ConfigError(f"{name}: null is no value for it; leave it out")
    try:
        return cls(**{name: values[name] for name in names})
    except SettingError as exc:
        raise ConfigError(redact_text(str(exc))) from exc


def _parse(parser: _Parser, argv: list[str]) -> dict[str, Any]:
    try:
        return dict(parser.parse_args(argv).as_dict())
    # What jsonargparse trips over in a file whose value is of a wholly different shape.
    except (TypeError, ValueError, RuntimeError, AttributeError) as exc:
        raise ConfigError(redact_text(_one_line(str(exc), _keys(parser)))) from exc


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


_RULES: Final = (
    # A file may hold something else than a list there.
    (
        r"is not iterable|item assignment|changed size|Parser key \"input\" element",
        "input: expected a list of paths or URLs, e.g. [data/]",
    ),
    (r"Unexpected config", "config: a file of lines like 'budget: 0.2' is expected"),
    # Without the line at fault, which YAML quotes: it may hold a secret.
    (r"Problems parsing config: .*(?P<what>line \d+, column \d+)", "config: no valid YAML: {what}"),
    (r"Problems parsing config", "config: no valid YAML"),
    (r"Key must be a string, got: (?P<key>.*)\.$", "{key}: no such setting"),
    (r"argument --(?P<key>[\w-]+)\S*: ignored explicit argument", "{key}: takes no value"),
    (r"argument --(?P<key>[\w-]+)\S*: (?P<what>.*)", "{key}: {what}"),
    (r"Parser key \"(?P<key>[\w.]+)\":\s*(?P<what>.*)", "{key}: {what}"),
    (r"Option '(?P<key>[\w.]+)' is not accepted", "{key}: no such setting"),
    (r"[Uu]nrecognized arguments?:?\s+(?P<key>[^-\s]\S*)", "{key}: expected a --name before it"),
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


_SECRET_KEYS: Final = ("storage_options",)
"""Settings whose values are not repeated in messages."""

_TYPE_NAMES: Final = {
    "NoneType": "null",
    "str": "a text",
    "int": "a whole number",
    "float": "a number",
    "dict": "a JSON object",
}


def _wrong_type(text: str) -> str:
    """jsonargparse's report of a wrong type, as 'expected a number, got x'."""
    given = r"(?:Got value|Given value): (.*?)(?: - Expected.*| Given value type.*)?$"
    found = re.search(r"Given value: (.*)$", text) or re.search(given, text)
    names = re.findall(r"Expected an? (?:<class '([\w.]+)'>|typing\.Literal\[(.*?)\])", text)
    key = re.match(r"Parser key \"([\w.]+)\":", text)
    if not (found and names and key):
        return text
    wanted = " or ".join(_TYPE_NAMES.get(n, n) if n else f"one of {c}" for n, c in names)
    got = "" if key[1] in _SECRET_KEYS else f", got {found[1]!r}"
    return f'Parser key "{key[1]}": expected {wanted}{got}'


def _hint(key: str, keys: list[str]) -> str:
    """The setting that was probably meant; files have no sections, so the last name counts."""
    name = key.lstrip("-").partition("=")[0].replace("-", "_").rpartition(".")[2]
    near = difflib.get_close_matches(name, keys, n=1)
    if not near:
        return "; --help lists them"
    meant = f"--{near[0].replace('_', '-')}" if key.startswith("--") else near[0]
    return f"; did you mean {meant}?"
