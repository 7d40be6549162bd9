"""Help pages: the common settings at a glance, and all of them at length."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from pipeline.command_line.setting import Setting, descriptions

__all__ = ["EXIT_CODES", "Manual", "full_page", "program", "short_page"]

_WIDTH: Final = 98
_COLUMN: Final = 27
_LONG: Final = 24

EXIT_CODES: Final = (
    "Exit codes: 0 done, 1 failed, 2 bad configuration or input, 3 too many bad rows."
)

Sections = Mapping[str, tuple[type[Any], Mapping[str, Setting]]]
"""By name: a configuration dataclass, and those of its fields that have a flag."""


@dataclass(frozen=True, kw_only=True)
class Manual:
    """What help pages say beside the settings.

    Attributes:
        command: as in `hired COMMAND`.
        common: settings on the first page, in its order; the first sentence of each is its line.
        more: what both pages end with.
    """

    command: str
    usage: str
    description: str
    common: tuple[str, ...]
    more: str = EXIT_CODES


def program(command: str) -> str:
    """What was typed: `hired caption`, or `jobs/caption.py`."""
    typed = Path(sys.argv[0])
    return f"jobs/{typed.name}" if typed.parent.name == "jobs" else f"hired {command}"


def short_page(manual: Manual, sections: Sections) -> str:
    """Two screens at most: each common setting on one line, and how to see the others."""
    settings: dict[str, Setting] = {}
    texts: dict[str, str] = {}
    for section, shown in sections.values():
        settings |= shown
        texts |= {name: text for name, text in descriptions(section).items() if name in shown}
    lines = [_line(settings[name], texts[name]) for name in manual.common if name in settings]
    lines.append(_columns("--config FILE", "YAML file of settings; flags override it"))
    number = len(settings) + 1
    ask = f"{program(manual.command)} --help all"
    rest = f"`{ask}` explains all {number} settings, at length."
    keys = "Each is a key of YAML files too, with underscores: max_new_tokens: 64."
    return "\n".join([_head(manual), "", *lines, "", _wrapped(f"{rest} {keys}"), manual.more])


def full_page(manual: Manual, sections: Sections) -> str:
    """Every setting with its whole explanation, by section."""
    blocks = [_head(manual), _FILES]
    for section, shown in sections.values():
        texts = descriptions(section)
        entries = [_entry(setting, texts.get(name, "")) for name, setting in shown.items()]
        if entries:
            blocks.append("\n".join([f"{section.__doc__}:", *entries]))
    return "\n\n".join([*blocks, manual.more])


_FILES: Final = """Files:
  --config FILE
      YAML file of settings, a line each: `budget: 0.2`. May be given more than once; later files
      override earlier ones, and flags override files wherever they stand."""


def _head(manual: Manual) -> str:
    return f"usage: {program(manual.command)} {manual.usage}\n\n{manual.description}"


def _line(setting: Setting, text: str) -> str:
    first = text.partition(". ")[0].rstrip(".")
    flag = f"--[no-]{setting.flag[2:]}" if setting.default is True else setting.flag
    line = _columns(f"{flag} {_placeholder(setting, _LONG)}", first)
    told = text.partition("Default: ")[2].partition(". ")[0].rstrip(".")
    default = "" if setting.is_switch else _default(setting) or told
    fits = default and len(line) + len(default) + 3 <= _WIDTH
    return f"{line} [{default}]" if fits else line


def _columns(left: str, right: str) -> str:
    return f"  {left:{_COLUMN - 4}}  {right}"


def _entry(setting: Setting, text: str) -> str:
    if setting.is_switch:
        head = f"  {setting.flag}, --no-{setting.flag[2:]}"
        default = "on" if setting.default else "off"
    else:
        head = f"  {setting.flag} {_placeholder(setting, _WIDTH)}"
        default = "required" if setting.is_required else _default(setting)
    note = f" [{default}]" if default else ""
    return f"{head}\n{_wrapped(text + note, '      ')}"


def _placeholder(setting: Setting, longest: int) -> str:
    names = {
        str: "TEXT",
        int: "N",
        float: "X",
        list: "PATH...",
        tuple: "TEXT...",
        dict: "JSON",
        Mapping: "JSON",
    }
    if setting.is_switch:
        return ""
    kind = setting.kinds[0]
    if get_origin(kind) is Literal:
        choices = "|".join(map(str, get_args(kind)))
        return choices if len(choices) <= longest else "NAME"
    return names.get(get_origin(kind) or kind, "PATH")


def _default(setting: Setting) -> str:
    """As it is written in a file; none where there is none, or where it is the text's to tell."""
    return (
        "" if setting.is_required or setting.default in (None, [], (), {}) else str(setting.default)
    )


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
