"""What pages say, taken apart; and the parts of pages that are made of the code.

`python -m tests.support.docs` writes these parts anew.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from hired_core.methods.registry import METHODS, make_options, method
from hired_core.vlm.fitting import misfits
from pipeline.command_line.setting import Setting, descriptions, settings_of
from pipeline.export.options import ExportOptions
from pipeline.report.asked import ReportOptions
from pipeline.settings.config import JobConfig
from tests.support.import_graph import ROOT, read_modules

Floors = Sequence[set[str]]
MODULES = read_modules()
PAGES = [*map(ROOT.joinpath, ("README.md", "CONTRIBUTING.md", "SECURITY.md"))]
PAGES += sorted((ROOT / "docs").glob("*.md")) + sorted((ROOT / "results").glob("*.md"))
PAGES.append(ROOT / "hired_core" / "embedded" / "MODEL_CARD.md")
SECTIONS: Sequence[type[Any]] = [
    section for hint in get_type_hints(JobConfig).values() for section in get_args(hint) or [hint]
]
"""Of a job's settings; captions and questions are two of them."""


@dataclass(frozen=True)
class Block:
    """A block of code, fenced or indented; `language` is "" where none is said."""

    language: str
    text: str


def code_blocks(page: str) -> Iterator[Block]:
    """Fenced blocks, and those indented by four spaces behind an empty line."""
    fenced = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    yield from (Block(*match.groups()) for match in fenced.finditer(page))
    indented = re.compile(r"(?:^|\n\n)((?: {4}[^\n]*(?:\n|$))+)")
    for match in indented.finditer(fenced.sub("", page)):
        yield Block("", re.sub(r"^ {4}", "", match[1], flags=re.MULTILINE))


def command_lines(page: str) -> Iterator[list[str]]:
    """Words of what is to be typed in a shell: `hired ...` and `python jobs/...`, also behind `--`
    of another command."""
    for block in code_blocks(page):
        if block.language in ("", "bash", "sh"):
            for line in block.text.replace("\\\n", " ").splitlines():
                if re.match(r"\s*(hired|ray|python) ", line):
                    words = shlex.split(line, comments=True)
                    yield words[words.index("--") + 1 :] if "--" in words else words


def links(page: str) -> Iterator[str]:
    """Relative targets of links and pictures, without their anchors."""
    text = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target and not target.startswith("#"):
            yield target.partition("#")[0]


def first_cells(page: str) -> list[str]:
    """What stands in backticks in the first column of tables."""
    cells = re.findall(r"^\| ([^|]*) \|", page, flags=re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def settings_tables(sections: Sequence[type[Any]] = SECTIONS) -> str:
    """Every setting by section: flag, what it takes, default, first sentence."""
    parts = []
    for section in sections:
        texts = descriptions(section)
        rows = [_row(setting, texts[name]) for name, setting in settings_of(section).items()]
        head = f"**{section.__doc__}**\n\n| setting | takes | default | what it is |\n"
        parts.append(head + "|---|---|---|---|\n" + "\n".join(rows))
    return "\n\n".join(parts)


def _row(setting: Setting, text: str) -> str:
    first, told = (_sentence(part) for part in (text, text.partition("Default: ")[2]))
    default = "required" if setting.is_required else _default(setting.default) or told
    return f"| `{setting.flag}` | {_takes(setting)} | {default} | {first} |"


def _sentence(text: str) -> str:
    return re.split(r"(?<!e\.g)\. ", text)[0].rstrip(".")


def _takes(setting: Setting) -> str:
    if setting.is_switch:
        return "a switch"
    kind = setting.kinds[0]
    names = {
        str: "text",
        int: "number",
        float: "number",
        list: "texts",
        tuple: "texts",
        dict: "mapping",
        Path: "a file",
    }
    return ", ".join(get_args(kind)) if _is_choice(kind) else names[get_origin(kind) or kind]


def _is_choice(kind: Any) -> bool:
    return bool(get_args(kind)) and get_origin(kind) not in (list, tuple, dict)


def _default(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "" if value in (None, [], (), {}) else f"{value}"


def methods_by_tower() -> str:
    """Every method by what it is shown where the vision tower has a CLS token, and where not; and
    whether it fits images that are encoded as a whole."""
    rows = []
    for name in METHODS:
        one, options = method(name), make_options(name, {})
        needs = one.needs(options)
        shown = [*needs.cls_layers, *([needs.full_image_layer] if needs.full_image_layer else [])]
        other = {"keys": needs.keys_layer, "features": needs.features or needs.projected}
        also = ["received attention"] if needs.received_layers else []
        also += [what for what, asked in other.items() if asked]
        apart = ", ".join(also) or "nothing of the tower"
        with_cls = ", ".join(["CLS attention", *also]) if shown else apart
        without = ", ".join(dict.fromkeys(["received attention", *also])) if shown else apart
        without = "refused" if one.needs_cls else without
        reasons = ["reads a CLS token"] if one.needs_cls else list(misfits(one))
        whole = f"refused: it {reasons[0]}" if reasons else "runs"
        rows.append(f"| `{name}` | {with_cls} | {without} | {whole} |")
    head = "| `--method` | looks at, with a CLS token | without | native resolution |\n"
    head += "|---|---|---|---|\n"
    return head + "\n".join(rows)


def rooms_there(package: str, floor: set[str]) -> list[str]:
    """Those of a floor that have code, by name."""
    homes = (f"{package}.{room}" for room in sorted(floor))
    return [home.partition(".")[2] for home in homes if home in MODULES]


def house_picture(house: Floors, rooms: Mapping[str, Floors]) -> str:
    """A Mermaid flowchart: each package a box, its floors from the top, arrows downwards.

    Args:
        house: the packages, from the top.
        rooms: of packages that have any.
    """
    lines = ["flowchart TB"]
    packages = [name for floor in house for name in sorted(floor) if (ROOT / name).is_dir()]
    for package in packages:
        floors = [found for f in rooms.get(package, ()) if (found := rooms_there(package, f))]
        if floors:
            lines.append(f"    subgraph {package}")
            for index, floor in enumerate(floors):
                above = f"{package}{index - 1} --> " if index else ""
                lines.append(f'        {above}{package}{index}["{", ".join(floor)}"]')
            lines.append("    end")
    return "\n".join([*lines, f"    {' --> '.join(packages)}"])


def between(page: str, name: str) -> str:
    """What stands between the two comments that mark a made part."""
    found = re.search(rf"<!-- {name}: [^\n]*-->\n(.*?)<!-- end of {name} -->", page, re.DOTALL)
    assert found, f"there is no part {name!r}"
    return found[1].strip()


def write(path: Path, name: str, content: str) -> None:
    """Put `content` between the two comments."""
    text = path.read_text()
    marks = re.compile(rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    path.write_text(marks.sub(lambda m: f"{m[1]}\n{content}\n\n{m[2]}", text))


if __name__ == "__main__":
    from tests.unit.house.test_import_graph import HOUSE, ROOMS

    write(ROOT / "docs/configuration.md", "settings", settings_tables())
    write(ROOT / "docs/export.md", "export", settings_tables([ExportOptions]))
    write(ROOT / "docs/report.md", "report", settings_tables([ReportOptions]))
    write(ROOT / "docs/models.md", "towers", methods_by_tower())
    picture = f"```mermaid\n{house_picture(HOUSE, ROOMS)}\n```"
    write(ROOT / "docs/architecture.md", "house", picture)
