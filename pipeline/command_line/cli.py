"""Command lines from the configuration dataclasses, with one clear line for every mistake.

Flags and YAML files give raw values by name; these become values of the fields' types
(`pipeline.command_line.value`), and these the dataclasses, which refuse what is out of range.
"""

from __future__ import annotations

import difflib
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from hired_core.language.generation import GenerationSettings
from hired_core.methods.registry import methods_with
from hired_core.vlm.settings import ReductionSettings
from pipeline.command_line.manual import Manual, full_page, short_page
from pipeline.command_line.setting import Setting, settings_of
from pipeline.command_line.value import typed, value_of
from pipeline.quality.criteria import QualityConfig
from pipeline.rows.errors import ConfigError
from pipeline.rows.redact import cause_of, redact_text
from pipeline.settings.config import (
    CaptionConfig,
    DuplicatesConfig,
    InputConfig,
    JobConfig,
    ModelConfig,
    OutputConfig,
    QuestionConfig,
    RunConfig,
)
from pipeline.storage.web.fetch_options import FetchOptions

__all__ = ["parse_job", "parse_sections"]

_HELP: Final = ("--help", "-h")


def parse_job(
    argv: Sequence[str], question: type[CaptionConfig] | type[QuestionConfig], description: str
) -> JobConfig:
    """The configuration that `argv` and the files it names describe.

    Raises:
        ConfigError: with one line naming the key, the value and what is allowed.
    """
    sections: dict[str, type[Any]] = {
        "input": InputConfig,
        "fetch": FetchOptions,
        "output": OutputConfig,
        "question": question,
        "duplicates": DuplicatesConfig,
        "model": ModelConfig,
        "reduction": ReductionSettings,
        "generation": GenerationSettings,
        "quality": QualityConfig,
        "run": RunConfig,
    }
    manual = Manual(
        command="caption" if question is CaptionConfig else "vqa",
        usage="--input PATH... --output URL [--budget X] [--config FILE] [OPTION]...",
        description=description,
        common=_COMMON,
    )
    return JobConfig(**parse_sections(argv, sections, manual))


_COMMON: Final = (
    *("input", "output", "image_column", "image_root", "id_column", "carry"),
    *("prompt", "prompt_column", "question_column", "duplicates", "near_duplicates"),
    *("model", "budget", "method"),
    *("max_new_tokens", "temperature", "schema", "choices", "reject", "limit"),
    *("dry_run", "overwrite", "new_run"),
    *("retry_quarantined", "max_error_rate", "memory_limit_gib", "prices", "progress"),
)


def parse_sections(
    argv: Sequence[str],
    sections: Mapping[str, type[Any]],
    manual: Manual,
    without: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """An object of each of `sections`, by their names. `--help` prints a page and exits.

    Args:
        without: as "section.name", settings without a flag of their own. They take the value of
            another section's setting of that name, or else keep their defaults.

    Raises:
        ConfigError: with one line naming the key, the value and what is allowed.
    """
    shown = {
        name: (cls, {k: s for k, s in settings_of(cls).items() if f"{name}.{k}" not in without})
        for name, cls in sections.items()
    }
    if any(word.partition("=")[0] in _HELP for word in argv):
        print((full_page if _all_asked(argv) else short_page)(manual, shown))
        raise SystemExit(0)
    settings = {name: setting for _, found in shown.values() for name, setting in found.items()}
    try:
        return _built(sections, settings, _raw(argv, settings))
    # Dataclasses of `hired_core` know no ConfigError.
    except (ConfigError, ValueError) as exc:
        raise ConfigError(redact_text(" ".join(str(exc).split()))) from cause_of(exc)


def _all_asked(argv: Sequence[str]) -> bool:
    """`--help all`, or `--help=all`."""
    return any(
        word.partition("=")[2] == "all" if "=" in word else following == "all"
        for word, following in zip(argv, [*argv[1:], ""], strict=True)
        if word.partition("=")[0] in _HELP
    )


def _raw(argv: Sequence[str], settings: Mapping[str, Setting]) -> dict[str, Any]:
    """What files and flags say, by name; flags override files, later files earlier ones."""
    flags = _Flags(argv, settings)
    found: dict[str, Any] = {}
    for file in flags.files:
        found |= _content(file, settings)
    return found | flags.found


def _built(
    sections: Mapping[str, type[Any]], settings: Mapping[str, Setting], raw: Mapping[str, Any]
) -> dict[str, Any]:
    absent = [s.name for s in settings.values() if s.is_required and s.name not in raw]
    if absent:
        raise ConfigError(f"{', '.join(absent)}: required, but not given")
    values = {name: value_of(settings[name], given) for name, given in raw.items()}
    return {
        name: cls(**{key: values[key] for key in settings_of(cls) if key in values})
        for name, cls in sections.items()
    }


class _Flags:
    """A command line taken apart: `found`, raw values by setting, and the `files` it names."""

    def __init__(self, argv: Iterable[str], settings: Mapping[str, Setting]) -> None:
        self.found: dict[str, Any] = {}
        self.files: list[str] = []
        self._settings = settings
        self._words = deque(argv)
        while self._words:
            self._take(self._words.popleft())

    def _take(self, word: str) -> None:
        if not word.startswith("-"):
            raise ConfigError(f"{word}: expected a --name before it")
        flag, equals, joined = word.partition("=")
        if equals:
            self._words.appendleft(joined)
        name = flag.removeprefix("--").replace("-", "_")
        off = name.removeprefix("no_")
        if flag.startswith("--") and name == "config":
            self.files.append(self._one(name, attached=bool(equals)))
        elif flag.startswith("--") and name in self._settings:
            self._set(self._settings[name], attached=bool(equals))
        elif flag.startswith("--no") and off in self._settings and self._settings[off].is_switch:
            self._switch(name, off, False, attached=bool(equals))
        else:
            raise _unknown(flag, self._settings)

    def _set(self, setting: Setting, *, attached: bool) -> None:
        name = setting.name
        if setting.is_switch:
            self._switch(name, name, True, attached=attached)
        elif setting.is_named:
            text, before = self._one(name, attached=attached), self.found.get(name)
            self.found[name] = text if before is None else [*_listed(before), text]
        elif setting.is_list:
            self.found[name] = self.found.get(name, []) + self._several(name, attached)
        else:
            value = typed(setting, self._one(name, attached=attached))
            before = self.found.get(name)
            both = isinstance(before, dict) and isinstance(value, dict)
            self.found[name] = before | value if both else value

    def _switch(self, flag: str, name: str, value: bool, *, attached: bool) -> None:
        if attached:
            raise ConfigError(f"{flag.replace('_', '-')}: takes no value")
        self.found[name] = value

    def _one(self, name: str, *, attached: bool) -> str:
        if attached or (self._words and not self._words[0].startswith("--")):
            return self._words.popleft()
        raise ConfigError(f"{name}: expected one argument")

    def _several(self, name: str, attached: bool) -> list[str]:
        found = [self._one(name, attached=attached)]
        while self._words and not self._words[0].startswith("--"):
            found.append(self._words.popleft())
        return found


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _content(path: str, settings: Mapping[str, Setting]) -> dict[str, Any]:
    """What a YAML file says, every key of it a setting."""
    try:
        found = yaml.safe_load(Path(path).read_bytes())
    except OSError as exc:
        raise ConfigError(f"config: cannot read {path!r}: {exc.strerror}") from exc
    # Without the line at fault, which YAML quotes: it may hold a secret.
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark
        where = f": line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"config: no valid YAML{where}") from None
    except (yaml.YAMLError, ValueError):
        raise ConfigError("config: no valid YAML") from None
    if not isinstance(found, dict):
        raise ConfigError("config: a file of lines like 'budget: 0.2' is expected")
    for key, value in found.items():
        if key not in settings:
            inner = f".{next(iter(value))}" if isinstance(value, dict) and value else ""
            raise _unknown(f"{key}{inner}", settings)
    return found


def _unknown(key: str, names: Iterable[str]) -> ConfigError:
    """With the setting that was probably meant; files have no sections: the last name counts."""
    name = key.lstrip("-").replace("-", "_").rpartition(".")[2]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.7)
    if not near:
        return _option_of_methods(key, name)
    meant = f"--{near[0].replace('_', '-')}" if key.startswith("--") else near[0]
    return ConfigError(f"{key}: no such setting; did you mean {meant}?")


def _option_of_methods(key: str, name: str) -> ConfigError:
    owners = methods_with(name)
    if not owners:
        return ConfigError(f"{key}: no such setting; --help all lists them")
    where = f"--method-options {name}=..., or method_options in a file"
    return ConfigError(f"{key}: no setting, but an option of {', '.join(owners)}: {where}")
