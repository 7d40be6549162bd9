"""Any dataclass becomes a command line: types, mappings, bases, and its own errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from pipeline.command_line.cli import parse_sections
from pipeline.command_line.manual import Manual
from pipeline.rows.errors import ConfigError

MANUAL = Manual(command="try", usage="[OPTION]...", description="Tries.", common=("grid", "deep"))


class GridError(ValueError):
    """As a method of `hired_core` raises: it knows nothing of the pipeline's errors."""


@dataclass(frozen=True, kw_only=True)
class Base:
    """Base"""

    grid: int | None = None
    """Rows of the grid. More of it. Default: as many as fit."""


@dataclass(frozen=True, kw_only=True)
class Method(Base):
    """Method"""

    method_options: Mapping[str, Any] = field(default_factory=dict)
    """Of the method."""
    kind: Literal["near", "far"] = "near"
    """Near or far."""
    folder: Path = Path("out")
    """Where to."""
    names: tuple[str, ...] = ()
    """Columns."""
    deep: bool = True
    """All layers."""
    plain: dict[str, Any] = field(default_factory=dict, repr=False)
    """Secrets."""

    def __post_init__(self) -> None:
        if self.grid == 13:
            raise GridError("grid: 13 is\nodd, see https://user:s3cret@host/")


def parse(*argv: str) -> Method:
    found = parse_sections(argv, {"it": Method}, MANUAL)
    assert isinstance(found["it"], Method)
    return found["it"]


def complaint(*argv: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(*argv)
    return str(caught.value)


def test_each_type_is_read() -> None:
    found = parse(
        *("--grid", "6", "--kind", "far", "--folder", "x/y", "--names", "a", "b", "--no-deep")
    )
    assert found == Method(grid=6, kind="far", folder=Path("x/y"), names=("a", "b"), deep=False)
    assert parse("--grid", "6", "--grid", "null") == Method()


@pytest.mark.parametrize(
    "values",
    [
        ['{"grid": 6, "deep": true, "name": "a=b"}'],
        ["grid=6", "deep=true", "name=a=b"],
        ["grid=7", "name=a=b", "deep=true", "grid=6"],
    ],
)
def test_a_mapping_is_json_or_pairs(values: list[str]) -> None:
    flags = [word for value in values for word in ("--method-options", value)]
    assert parse(*flags).method_options == {"grid": 6, "deep": True, "name": "a=b"}


def test_a_file_holds_a_mapping_and_flags_replace_it(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("method_options: {grid: 6, 'deep': [1, 2]}\ngrid: '7'\nfolder: x\n")
    found = parse("--config", str(file))
    assert found == Method(method_options={"grid": 6, "deep": [1, 2]}, grid=7, folder=Path("x"))
    assert parse("--config", str(file), "--method-options", "a=1").method_options == {"a": 1}
    file.write_text("method_options: {5: 6}\n")
    assert complaint("--config", str(file)).startswith("method_options: expected a JSON object")


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (
            "--method-options 5",
            "method_options: expected a JSON object, or KEY=VALUE once or more, ",
        ),
        ("--method-options [1]", "method_options: expected a JSON object"),
        ("--method-options {a=1", "method_options: expected a JSON object"),
        ("--names", "names: expected one argument"),
        ("--kind 5", "kind: expected one of 'near', 'far', got '5'"),
        (f"--kind {'x' * 500}", f"kind: expected one of 'near', 'far', got '{'x' * 80}...'"),
        ("--grid 13", "grid: 13 is odd, see https://host/"),
    ],
)
def test_mistakes_are_one_line(argv: str, line: str) -> None:
    assert complaint(*argv.split()).startswith(line)


def test_values_of_hidden_fields_are_not_repeated() -> None:
    assert "got" in complaint("--method-options", "s3cret")
    assert "s3cret" not in complaint("--plain", "s3cret")


def test_pages_show_bases_defaults_and_first_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    for argv, shown, absent in (
        (["--help"], "  --grid N                 Rows of the grid [as many as fit]\n", "--kind"),
        (["-h"], "  --[no-]deep              All layers\n", "More of it"),
        (["--help", "all"], "  --kind near|far\n      Near or far. [near]\n", "  --[no-]deep"),
        (["--help=all"], "Rows of the grid. More of it. Default: as many as fit.\n", "[None]"),
    ):
        with pytest.raises(SystemExit):
            parse(*argv)
        text = capsys.readouterr().out
        assert shown in text
        assert absent not in text
