"""The house as HOUSE and DESIGN draw it: rooms on floors, arrows downwards, no circle."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.import_graph import (
    PACKAGES,
    Arrow,
    calls_of,
    find_circles,
    read_arrows,
    read_modules,
)

Floors = Sequence[set[str]]
MODULES = read_modules()
ARROWS = read_arrows(MODULES)
INSIDE = [arrow for arrow in ARROWS if arrow.target in MODULES]

MOST_FILES = 14
"""In one folder, `__init__.py` apart."""

# From the top; an arrow goes to a lower floor, or stays in its room.
HOUSE: Floors = [{"jobs", "checks"}, {"lab"}, {"pipeline"}, {"hired_core"}]
ROOMS: dict[str, Floors] = {
    "pipeline": [
        {"job"},
        {"report"},
        {"stages", "verify", "export"},
        {"ledger", "accounting", "copies"},
        {"parts", "resources", "command_line"},
        {"sources", "settings"},
        {"storage", "isolation", "quality"},
        {"rows"},
    ],
    "hired_core": [
        {"vlm"},
        {"models"},
        {"backends"},
        {"vision"},
        {"methods"},
        {"images", "language"},
        {"geometry"},
        {"transfer", "onednn", "errors", "choices"},
    ],
    "lab": [
        {"command"},
        {"training", "device_check"},
        {"benchmark"},
        {"demo"},
        {"evaluation"},
        {"rendering"},
        {"questions", "environment", "tables"},
    ],
}


def room_of(module: str, package: str) -> str:
    """The part of the name below `package`; '' for the package's own `__init__`."""
    return module.removeprefix(package).lstrip(".").partition(".")[0]


def floor_of(room: str, floors: Floors) -> int:
    """Counted from the top; a package's own `__init__` is the roof."""
    return -1 if room == "" else next(i for i, floor in enumerate(floors) if room in floor)


def upwards(arrows: Sequence[Arrow], package: str, floors: Floors) -> list[str]:
    """Arrows between rooms of `package` that do not go down."""
    found = []
    for arrow in arrows:
        source, target = (room_of(m, package) for m in (arrow.source, arrow.target))
        if source != target and floor_of(source, floors) >= floor_of(target, floors):
            found.append(str(arrow))
    return found


def of(package: str, module: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def importers(*names: str) -> set[str]:
    """Modules of ours that import one of these packages."""
    return {a.source for a in ARROWS if a.target.partition(".")[0] in names}


def test_the_reader_sees_imports_in_functions_and_for_typing_alone(tmp_path: Path) -> None:
    """Or every other test here would pass for want of arrows."""
    assert {"hired_core", "pipeline.job.graph", "lab.training", "jobs.caption"} <= MODULES.keys()
    assert len(INSIDE) > 500
    (tmp_path / "lab/a").mkdir(parents=True)
    (tmp_path / "lab/a/__init__.py").write_text("from . import b\n")
    (tmp_path / "lab/a/b.py").write_text(
        "if TYPE_CHECKING:\n    import lab.a.c\ndef f():\n    from .c import x\n"
    )
    (tmp_path / "lab/a/c.py").write_text("from lab import a\nimport torch.nn\n")
    modules = read_modules(tmp_path)
    arrows = read_arrows(modules)
    assert [(a.source, a.target) for a in arrows] == [
        ("lab.a", "lab.a.b"),
        ("lab.a.b", "lab.a.c"),
        ("lab.a.b", "lab.a.c"),
        ("lab.a.c", "lab.a"),
        ("lab.a.c", "torch.nn"),
    ]
    assert find_circles(modules, arrows) == [["lab.a", "lab.a.b", "lab.a.c"]]
    assert find_circles(modules, arrows[:3]) == []
    assert upwards(arrows[:4], "lab.a", [{"b"}, {"c"}]) == [str(arrows[3])]


def test_every_room_is_on_a_floor() -> None:
    for package, floors in ROOMS.items():
        rooms = {room_of(m, package) for m in MODULES if of(package, m)} - {""}
        assert rooms <= set().union(*floors), f"{package}: a room that no floor names"
    assert set(PACKAGES) == set().union(*HOUSE)


def test_packages_point_one_way() -> None:
    assert upwards(INSIDE, "", HOUSE) == []


@pytest.mark.parametrize("package", ROOMS)
def test_rooms_point_downwards(package: str) -> None:
    inner = [a for a in INSIDE if of(package, a.source) and of(package, a.target)]
    assert upwards(inner, package, ROOMS[package]) == []


def test_no_modules_import_each_other() -> None:
    assert find_circles(MODULES, INSIDE) == []


def test_only_storage_knows_the_file_systems() -> None:
    found = {m for m in importers("fsspec", "s3fs") if of("pipeline", m) or of("lab", m)}
    assert found and {room_of(m, "pipeline") for m in found} == {"storage"}


@pytest.mark.parametrize(
    "method",
    ["write_text", "write_bytes", "makedirs", "mkdir", "pipe_file", "cat_file", "invalidate_cache"],
)
def test_only_storage_reads_and_writes(method: str) -> None:
    """Within the job; and whoever is handed a file system hands it back to ask it something."""
    inside = {m: path for m, path in MODULES.items() if of("pipeline", m)}
    callers = {m for m, path in inside.items() if calls_of(path, method)}
    assert {room_of(m, "pipeline") for m in callers} <= {"storage"}


def test_only_one_file_calls_map_batches() -> None:
    callers = {m for m, path in MODULES.items() if calls_of(path, "map_batches")}
    assert callers == {"pipeline.job.graph"}


def test_only_adapters_know_transformers() -> None:
    """And the reference backend, which is transformers' own `generate`."""
    found = {m for m in importers("transformers") if of("hired_core", m)}
    others = {m for m in found if room_of(m, "hired_core") != "models"}
    assert found != others <= {"hired_core.backends.reference"}


@pytest.mark.parametrize("package", ["hired_core", "pipeline"])
def test_a_file_name_is_there_once(package: str) -> None:
    """But for the contract and the table of a room whose files are one of a kind each."""
    by_room = ("__init__.py", "base.py", "registry.py")
    paths = [p for m, p in MODULES.items() if of(package, m) and p.name not in by_room]
    times = Counter(path.name for path in paths)
    assert [str(path) for path in paths if times[path.name] > 1] == []


def test_folders_are_short() -> None:
    sizes = Counter(p.parent for p in MODULES.values() if p.name != "__init__.py")
    assert {str(folder): n for folder, n in sizes.items() if n > MOST_FILES} == {}


def test_every_package_says_what_lives_there_and_what_does_not() -> None:
    lines: dict[str, int] = defaultdict(int)
    for module, path in MODULES.items():
        folder = module if path.name == "__init__.py" else module.rpartition(".")[0]
        lines[folder] += 0
        if path.name == "__init__.py":
            text = ast.get_docstring(ast.parse(path.read_text())) or ""
            lines[folder] = sum(bool(line.strip()) for line in text.splitlines())
    scripts = {"jobs", "checks"}  # Folders of files to run, not packages.
    assert {name for name, count in lines.items() if count < 2} <= scripts
