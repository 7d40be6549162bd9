"""Who imports whom, read from the source: imports inside functions and for typing included."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PACKAGES = ("hired_core", "pipeline", "lab", "jobs", "checks")


class Arrow(NamedTuple):
    """`source` imports `target`, which is a module of ours or the full name of something else."""

    source: str
    target: str
    line: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line} imports {self.target}"


def read_modules(root: Path = ROOT) -> dict[str, Path]:
    """Files by dotted name; a package is the name of its folder."""
    files = (path for package in PACKAGES for path in sorted((root / package).rglob("*.py")))
    return {_dotted(path.relative_to(root)): path for path in files}


def _dotted(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def read_arrows(modules: Mapping[str, Path]) -> list[Arrow]:
    """Every import of these modules, in the order of the files."""
    return [arrow for name, path in modules.items() for arrow in _arrows_of(name, path, modules)]


def _arrows_of(name: str, path: Path, modules: Mapping[str, Path]) -> Iterator[Arrow]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (Arrow(name, alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _base(name, path, node)
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield Arrow(name, full if full in modules else base, node.lineno)


def _base(name: str, path: Path, node: ast.ImportFrom) -> str:
    """The module that is imported from, also where it is told relative to this one."""
    if not node.level:
        return node.module or ""
    up = node.level - (path.name == "__init__.py")
    package = name.split(".")[: -up or None]
    return ".".join([*package, *([node.module] if node.module else [])])


def find_circles(modules: Iterable[str], arrows: Iterable[Arrow]) -> list[list[str]]:
    """Modules that import each other, directly or round about; each circle once.

    What is left when modules without an import among the rest are taken away, and those that
    nothing of the rest imports, again and again.
    """
    left = set(modules)
    pairs = {(a.source, a.target) for a in arrows if a.source != a.target}
    while True:
        inner = {(source, target) for source, target in pairs if {source, target} <= left}
        kept = {source for source, _ in inner} & {target for _, target in inner}
        if kept == left:
            circles = {tuple(sorted(_reach(m, inner) & _reach_back(m, inner))) for m in left}
            return sorted(list(circle) for circle in circles if circle)
        left = kept


def _reach(start: str, pairs: set[tuple[str, str]]) -> set[str]:
    found, waiting = set(), [start]
    while waiting:
        here = waiting.pop()
        new = {target for source, target in pairs if source == here} - found
        found |= new
        waiting += new
    return found


def _reach_back(start: str, pairs: set[tuple[str, str]]) -> set[str]:
    return _reach(start, {(target, source) for source, target in pairs})


def calls_of(path: Path, method: str) -> list[int]:
    """Lines where something of this name is called."""
    calls = (n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call))
    return [
        call.lineno
        for call in calls
        if getattr(call.func, "attr", None) == method or getattr(call.func, "id", None) == method
    ]
