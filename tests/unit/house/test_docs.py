"""Pages say what is so: links, command lines, tables and the picture of the house."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from hired_core.images.notes import NOTES
from hired_core.methods.base import Method
from hired_core.methods.registry import METHODS, make_options, method
from hired_core.models.base import Family
from hired_core.models.registry import FAMILIES
from lab.benchmark.options import parse as parse_benchmark
from lab.command import COMMANDS
from lab.device_check.command import parser as check_parser
from lab.evaluation.options import parse_evaluation
from lab.evaluation.page.command import _parse as parse_explain
from lab.training.config import TrainingConfig
from pipeline.command_line.cli import parse_job, parse_sections
from pipeline.command_line.manual import Manual
from pipeline.export.formats.registry import FORMATS
from pipeline.export.options import ExportOptions
from pipeline.job.commands import parse_export, parse_report
from pipeline.quality.criteria import FLAGS
from pipeline.report.asked import ReportOptions
from pipeline.rows.errors import ROW_ERROR_CODES
from pipeline.rows.schemas import CAPTIONS_SCHEMA, QUARANTINE_SCHEMA
from pipeline.settings.config import CaptionConfig, QuestionConfig
from pipeline.verify.command import _parser as verify_parser
from tests.support.docs import (
    PAGES,
    ROOT,
    between,
    code_blocks,
    command_lines,
    first_cells,
    house_picture,
    links,
    methods_by_tower,
    rooms_there,
    settings_tables,
)
from tests.support.evidence import random_evidence
from tests.support.families import BUILDERS
from tests.support.parity import FOUND, SUBJECTS, parity_table
from tests.unit.house.test_import_graph import HOUSE, ROOMS

README, CONTRIBUTING = ROOT / "README.md", ROOT / "CONTRIBUTING.md"
DOCS = ROOT / "docs"
MOST_LINES = 140
"""Of the README."""
WRITE = "`python -m tests.support.docs` writes it anew"

COMMANDS_TYPED = [
    pytest.param(words, id=f"{page.stem}-{i}")
    for page in PAGES
    for i, words in enumerate(command_lines(page.read_text()))
]


def train(argv: Sequence[str]) -> None:
    assert argv[0] in ("all", "shards", "vision", "language", "export", "measure")
    manual = Manual(command="", usage="", description="", common=())
    parse_sections(argv[1:], {"training": TrainingConfig}, manual)


def demo(argv: Sequence[str]) -> None:
    assert len(argv) in (0, 2) and argv[:1] in ([], ["--output"])


PARSERS: dict[str, Callable[[Sequence[str]], Any]] = {
    "caption": lambda argv: parse_job(argv, CaptionConfig, ""),
    "vqa": lambda argv: parse_job(argv, QuestionConfig, ""),
    "export": parse_export,
    "report": parse_report,
    "verify": lambda argv: verify_parser().parse_args(argv),
    "demo": demo,
    "explain": parse_explain,
    "evaluate": parse_evaluation,
    "benchmark": parse_benchmark,
    "device-check": lambda argv: check_parser().parse_args(argv),
    "train-embedded": train,
}


def read_by_its_parser(words: Sequence[str]) -> None:
    """Raises, or exits, where the words are none that the command understands."""
    if words[:2] == ["python", "-m"]:
        found = importlib.util.find_spec(words[2])
        assert found and found.origin, f"no module {words[2]}"
        source = Path(found.origin).read_text()
        flags = [word for word in words[3:] if word.startswith("--")]
        assert [flag for flag in flags if f'"{flag}"' not in source] == []
        return
    script = words[0] == "python"
    name = Path(words[1]).stem.replace("_", "-") if script else words[1]
    assert not script or (ROOT / words[1]).is_file(), f"no script {words[1]}"
    if name == "render-samples":
        assert not words[2:]
    else:
        PARSERS[name](words[2:])


def test_every_command_has_a_parser_here() -> None:
    assert PARSERS.keys() == COMMANDS.keys()


def test_the_reader_of_pages_sees_commands_and_links() -> None:
    page = (
        "A `hired no-block`, [a](b.md#c) and [d](https://e).\n\n    hired caption --x \\\n"
        "        --y 'z w'  # why\n    ray job submit -- python jobs/vqa.py --q\n\n"
        "```bash\npython -m tests.x\n```\n```python\nhired = 1\n```\n"
    )
    assert list(links(page)) == ["b.md"]
    assert sorted(command_lines(page)) == [
        ["hired", "caption", "--x", "--y", "z w"],
        ["python", "-m", "tests.x"],
        ["python", "jobs/vqa.py", "--q"],
    ]
    assert len(COMMANDS_TYPED) > 20


@pytest.mark.parametrize("words", COMMANDS_TYPED)
def test_a_command_line_is_understood(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    read_by_its_parser(words)


@pytest.mark.parametrize(
    "typed",
    [
        *(
            "hired caption --input a --output b --bugdet 1",
            "hired nothing",
            "python jobs/nothing.py",
        ),
        *("hired caption --input a --output b --method nope", "hired verify a --mend"),
        *(
            "hired export a",
            "hired export a --to csv",
            "hired export a --to jsonl --side-by-side copy",
        ),
        *("python -m tests.throughput --no-such-flag", "hired explain a"),
    ],
)
def test_a_command_line_that_is_none_is_told(typed: str) -> None:
    with pytest.raises((Exception, SystemExit)):
        read_by_its_parser(typed.split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    assert [link for link in links(page.read_text()) if not (page.parent / link).exists()] == []


def test_the_tests_that_hold_promises_are_there() -> None:
    named = re.findall(r"`(\w+/[\w/]+\.py)`", (ROOT / "SECURITY.md").read_text())
    assert (
        len(named) > 10 and [name for name in named if not (ROOT / "tests" / name).exists()] == []
    )


def test_every_page_is_found_from_the_readme() -> None:
    found = {(ROOT / link).resolve() for link in links(README.read_text())}
    assert set(DOCS.glob("*.md")) | {CONTRIBUTING, ROOT / "SECURITY.md"} <= found


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= MOST_LINES


def test_every_method_and_option_has_a_row() -> None:
    table, _, rest = (DOCS / "methods.md").read_text().partition("## Terms")
    assert first_cells(table) == ["--method", *METHODS]
    _, _, options = rest.partition("## Options")
    for name in METHODS:
        for option, value in vars(make_options(name, {})).items():
            row = rf"^\| [^|]*`{name}`[^|]* \| `{option}` \| `?{str(value).lower()}`? \|"
            assert re.search(row, options, re.MULTILINE), f"{name}: {option} {value}"


def test_every_family_has_a_row() -> None:
    assert FAMILIES.keys() <= set(first_cells((DOCS / "models.md").read_text()))


def test_what_methods_look_at_is_told_by_tower() -> None:
    assert between((DOCS / "models.md").read_text(), "towers") == methods_by_tower(), WRITE


def test_parity_is_told_of_every_family_and_of_this_transformers() -> None:
    """What was measured, all texts alike; an update of transformers asks for it anew."""
    found, again = (
        json.loads(FOUND.read_text()),
        "`python -m tests.support.parity` measures it anew",
    )
    assert between((DOCS / "models.md").read_text(), "parity") == parity_table(found), again
    assert found["families"].keys() == SUBJECTS.keys(), again
    assert FAMILIES.keys() == BUILDERS.keys() <= SUBJECTS.keys()
    assert found["transformers"] == importlib.metadata.version("transformers"), again
    for name, ways in found["families"].items():
        for way, counts in ways.items():
            assert counts["slots"] == counts["reference"] == counts["texts"], (name, way)
            assert counts["distinct"] > counts["texts"] / 2, (name, way)


def test_every_setting_is_told() -> None:
    assert between((DOCS / "configuration.md").read_text(), "settings") == settings_tables(), WRITE
    told = between((DOCS / "export.md").read_text(), "export")
    assert told == settings_tables([ExportOptions]), WRITE
    told = between((DOCS / "report.md").read_text(), "report")
    assert told == settings_tables([ReportOptions]), WRITE


def test_every_form_of_export_has_a_row() -> None:
    assert FORMATS.keys() <= set(first_cells((DOCS / "export.md").read_text()))


def test_every_column_and_code_is_told() -> None:
    page = (DOCS / "output.md").read_text()
    for schema in (CAPTIONS_SCHEMA, QUARANTINE_SCHEMA):
        listed = ", ".join(schema.names)
        assert listed in page.replace("\n", " "), listed
    assert ROW_ERROR_CODES.keys() <= set(first_cells(page))
    assert list(NOTES) == first_cells(page.partition("## Notes on images")[2].partition("\n## ")[0])
    assert list(FLAGS) == first_cells(page.partition("## Flags")[2].partition("\n## ")[0])


def test_the_picture_is_of_this_house() -> None:
    page = (DOCS / "architecture.md").read_text()
    picture = f"```mermaid\n{house_picture(HOUSE, ROOMS)}\n```"
    assert between(page, "house") == picture, WRITE


def test_every_room_is_described() -> None:
    page = (DOCS / "architecture.md").read_text()
    for package, floors in ROOMS.items():
        _, _, rest = page.partition(f"## {package}")
        told = set(first_cells(rest.partition("\n## ")[0]))
        assert [r for f in floors for r in rooms_there(package, f) if r not in told] == []


def test_the_sketches_of_contributing_are_methods_and_a_family() -> None:
    before, inside, family_sketch = (
        _made(block.text)
        for block in code_blocks(CONTRIBUTING.read_text())
        if block.language == "python"
    )
    for sketch in (before["METHOD"], inside["METHOD"]):
        assert {name for name in dir(Method) if name[0] != "_"} <= set(dir(sketch))
        sketch.needs(sketch.options())
    evidence = random_evidence([(90, 112)], [1])
    for allocation in ("equal", "global"):
        options = before["METHOD"].options(allocation=allocation)
        least = before["METHOD"].reduce(evidence, torch.tensor([20]), options)
        assert least.count.tolist() == [20]
        most = method("uniform").reduce(evidence, torch.tensor([20]), options)
        assert not set(least.place[0, :20].tolist()) & set(most.place[0, :20].tolist())
    assert inside["METHOD"].schedule(5, 40, 8, None).layers == (2,)
    assert isinstance(family_sketch["FAMILY"], Family) and family_sketch["FAMILY"].name == "mine"


def _made(source: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    exec(compile(source, "CONTRIBUTING.md", "exec"), found)
    return found


def names_in_code(source: str) -> Iterator[str]:
    """Identifiers, imports and texts that are no docstrings."""
    tree = ast.parse(source)
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        for field in ("id", "attr", "name", "arg", "module", "asname"):
            if isinstance(value := getattr(node, field, None), str):
                yield value
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
            yield node.value


def test_only_models_names_a_family() -> None:
    assert [n for n in names_in_code('"llava"\nx = 1\n"""llava."""\n') if "llava" in n] == []
    assert "llava" in [*names_in_code('if kind == "llava": pass')]
    assert "a.llava" in [*names_in_code("import a.llava")]
    files = [*(ROOT / "hired_core").rglob("*.py"), *(ROOT / "pipeline").rglob("*.py")]
    inside = ROOT / "hired_core" / "models"
    found = {
        str(path.relative_to(ROOT)): sorted(names)
        for path in files
        if not path.is_relative_to(inside)
        and (names := {n for n in names_in_code(path.read_text()) if "llava" in n.lower()})
    }
    assert found == {}
