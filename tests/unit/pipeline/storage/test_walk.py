"""Listings that leave nothing out; patterns as fsspec itself reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.local import LocalFileSystem

from pipeline.rows.errors import StorageError
from pipeline.sources import list_input
from pipeline.storage.walk import exists, expand, walk
from tests.support.s3_server import s3_server

NAMES = [
    *("a.tar", "b.tar", "b.txt", "day-1/a.tar", "day-1/deep/c.tar", "day-2/a.tar", "day-2/.x.tar"),
    *("day-10/a1.tar", "day-10/a[1].tar", "day-10/a+b.tar", "other/deep/deeper/d.tar"),
]
PATTERNS = [
    *("*.tar", "*", "*/*.tar", "day-?/*.tar", "day-*/a*", "day-[12]/*", "day-1/*", "*/deep/*.tar"),
    *("**/*.tar", "**", "day-*/**", "o*/d*/d*/*.tar", "nothing/*.tar", "day-10/a[[]1].tar", "*/"),
    *("day-*/", "day-10/a+*", "*/*/*/*"),
]


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Any, str]]]:
    folder = tmp_path_factory.mktemp("walk")
    memory = fsspec.filesystem("memory")
    with s3_server() as server:
        for name in NAMES:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"x")
            memory.pipe_file(f"/walk/{name}", b"x")
            server.put(f"s3://walking/root/{name}", b"x")
        yield {
            "disk": (fsspec.filesystem("file"), str(folder)),
            "memory": (memory, "memory://walk"),
            "s3": (server.filesystem(), "s3://walking/root"),
        }


def files_of(infos: dict[str, Any]) -> dict[str, Any]:
    return {path: info for path, info in infos.items() if info["type"] == "file"}


@pytest.mark.parametrize("kind", ["disk", "memory", "s3"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_match_what_fsspec_matches(
    roots: dict[str, tuple[Any, str]], kind: str, pattern: str
) -> None:
    fs, root = roots[kind]
    fs.invalidate_cache()
    expected = fs.glob(f"{root}/{pattern}", detail=True)
    found = expand(fs, f"{root}/{pattern}")
    if "**" in pattern:  # Which folders match depends on the client; their files match as well.
        found, expected = files_of(found), files_of(expected)
    assert {path.rstrip("/") for path in found} == {path.rstrip("/") for path in expected}
    assert {i["type"] for i in found.values()} == {i["type"] for i in expected.values()}


@pytest.mark.parametrize("kind", ["disk", "memory", "s3"])
def test_a_walk_finds_every_file(roots: dict[str, tuple[Any, str]], kind: str) -> None:
    fs, root = roots[kind]
    assert len(walk(fs, fs._strip_protocol(root))) == len(NAMES)
    assert exists(fs, fs._strip_protocol(f"{root}/a.tar"))
    assert not exists(fs, fs._strip_protocol(f"{root}/z.tar"))


class Locked(LocalFileSystem):  # type: ignore[misc]
    """Folders named "locked" cannot be listed; as root, no folder of a disk is like that."""

    protocol = "locked"

    def ls(self, path: str, detail: bool = False, **kwargs: Any) -> Any:
        if path.endswith("/locked"):
            raise PermissionError(13, "Permission denied", path)
        return super().ls(path, detail=detail, **kwargs)

    def info(self, path: str, **kwargs: Any) -> Any:
        if str(path).endswith("/hidden"):
            raise PermissionError(13, "Permission denied", path)
        return super().info(path, **kwargs)


@pytest.mark.parametrize("pattern", ["", "/*", "/*/*.tar", "/**/*.tar"])
def test_a_folder_that_cannot_be_listed_is_not_left_out(tmp_path: Path, pattern: str) -> None:
    fsspec.register_implementation("locked", Locked, clobber=True)
    for name in ("open/a.tar", "locked/b.tar"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(StorageError, match=r"cannot list .*PermissionError.*/locked"):
        list_input([f"locked://{tmp_path}{pattern}"], storage_options={})


def test_not_being_told_is_no_no(tmp_path: Path) -> None:
    with pytest.raises(PermissionError):
        exists(Locked(), f"{tmp_path}/hidden")
