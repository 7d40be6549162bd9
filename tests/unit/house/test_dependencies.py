"""What is installed is what is pinned; offline. Known vulnerabilities: `make audit`."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
# Installed by the Makefile, or there before; see README, Development.
UNPINNED = {"torch", "pip", "setuptools"}


def pinned() -> dict[str, str]:
    """Versions of constraints.txt by name."""
    lines = (ROOT / "constraints.txt").read_text().split()
    names, versions = zip(*(line.split("==") for line in lines), strict=True)
    return dict(zip(map(canonicalize_name, names), versions, strict=True))


def declared() -> list[Requirement]:
    """The requirements of pyproject.toml, those of development included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = project["dependencies"] + project["optional-dependencies"]["dev"]
    return [Requirement(text) for text in texts]


def installed() -> dict[str, str]:
    """Versions of everything that the project needs, directly or not, by name."""
    found: dict[str, str] = {}
    waiting = declared()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in UNPINNED or name in found:
            continue
        found[name] = metadata.version(name)
        waiting += _needs(name, requirement.extras)
    return found


def _needs(name: str, extras: set[str]) -> Iterator[Requirement]:
    for text in metadata.requires(name) or []:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def test_every_dependency_is_installed_as_pinned() -> None:
    pins = pinned()
    found = installed()
    assert len(found) > 50
    wrong = {name: version for name, version in found.items() if pins.get(name) != version}
    assert wrong == {}


def test_pins_are_within_the_declared_ranges() -> None:
    pins = pinned()
    for requirement in declared():
        name = canonicalize_name(requirement.name)
        assert name in UNPINNED or requirement.specifier.contains(pins[name]), requirement


def test_installed_packages_fit_each_other() -> None:
    check = [sys.executable, "-m", "pip", "check"]
    result = subprocess.run(check, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout
