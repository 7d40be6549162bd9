"""Named blobs below one URL: what parts, ledger, lock and report are stored with."""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pipeline.rows.errors import ConfigError, StorageError
from pipeline.storage.atomic_write import TEMPORARY_SUFFIX, link, put, remove
from pipeline.storage.files import (
    StorageFile,
    is_local,
    missing_package,
    open_path,
    redact_url,
    retry_of,
    storage_errors,
    to_filesystem,
)
from pipeline.storage.walk import exists

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Store:
    """A folder or URL prefix. Names are '/'-separated paths below it.

    A blob becomes visible whole: on object stores by a single PUT, on file systems written aside
    and renamed. Every method raises `StorageError` where the storage fails.
    """

    url: str = field(repr=False)
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    setting: str = "output"
    """Which one says `url`, for errors."""

    def put(self, name: str, data: bytes) -> None:
        """Store `data`, replacing what is there."""
        filesystem, root = self._open()
        with storage_errors(f"write {name} to", self.url):
            put(filesystem, f"{root}/{name}", data)

    def link(self, name: str, target: str) -> None:
        """Make a symbolic link to a file of this machine's disk, replacing what is there.

        Where the name is the file itself, it stays as it is.

        Raises:
            ConfigError: if the store is not on this machine's disk itself.
            StorageError: if there is no such file.
        """
        filesystem, root = self._open()
        if not is_local(filesystem):
            raise ConfigError(f"{redact_url(self.url)}: links are for local disks")
        with storage_errors(f"write {name} to", self.url):
            link(f"{root}/{name}", target)

    def get(self, name: str) -> bytes | None:
        """None if it is not there."""
        filesystem, root = self._open()
        with storage_errors(f"read {name} of", self.url):
            try:
                return bytes(_repeated(filesystem, lambda: filesystem.cat_file(f"{root}/{name}")))
            except FileNotFoundError:
                return None

    def put_json(self, name: str, content: Mapping[str, Any]) -> None:
        self.put(name, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())

    def get_json(self, name: str) -> dict[str, Any] | None:
        """None if it is not there."""
        data = self.get(name)
        if data is None:
            return None
        try:
            content = json.loads(data)
        except ValueError as exc:
            raise StorageError(f"{name} of the output is no JSON: {exc}") from exc
        if not isinstance(content, dict):
            raise StorageError(f"{name} of the output is no JSON object")
        return content

    def names(self, folder: str, prefix: str = "") -> list[str]:
        """Names of the blobs right in `folder` ('' for the top), sorted.

        Only those whose last part begins with `prefix`. Hidden ones, as files half written are,
        are left out unless it begins with a dot.
        """
        filesystem, root = self._open()
        with storage_errors(f"list {folder} of", self.url):
            try:
                paths = _paths(filesystem, f"{root}/{folder}".rstrip("/"), prefix)
            except FileNotFoundError:
                return []
        found = (str(path).rstrip("/").rpartition("/") for path in paths)
        bases = [base for parent, _, base in found if parent.endswith(folder)]
        hidden = prefix.startswith(".")
        chosen = [b for b in bases if b.startswith(prefix) and b.startswith(".") == hidden]
        return sorted(f"{folder}/{base}".lstrip("/") for base in chosen)

    def half_written(self, folder: str, base: str = "") -> list[str]:
        """Names of the files in `folder` that a killed process left while it wrote `base`."""
        return [name for name in self.names(folder, f".{base}") if name.endswith(TEMPORARY_SUFFIX)]

    def exists(self, name: str) -> bool:
        filesystem, root = self._open()
        with storage_errors(f"look for {name} in", self.url):
            return exists(filesystem, f"{root}/{name}")

    def remove(self, name: str) -> None:
        """Delete it if it is there."""
        filesystem, root = self._open()
        with storage_errors(f"delete {name} from", self.url):
            remove(filesystem, f"{root}/{name}")

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[StorageFile]:
        """The blob as a file to read, seekable."""
        filesystem, root = self._open()
        with (
            storage_errors(f"read {name} of", self.url),
            open_path(filesystem, f"{root}/{name}", self.url) as file,
        ):
            yield file

    def _open(self) -> tuple[Any, str]:
        try:
            with storage_errors("open", self.url):
                filesystem, root = to_filesystem(self.url, self.storage_options)
        except StorageError as exc:
            if isinstance(exc.__cause__, (ValueError, ImportError)):  # no such protocol here
                why = missing_package(self.url)
                told = f"cannot open {redact_url(self.url)}: {why}" if why else str(exc)
                raise ConfigError(f"{self.setting}: {told}") from exc
            raise
        return filesystem, str(root).rstrip("/")


def _paths(filesystem: Any, folder: str, prefix: str) -> list[str]:
    """Not by a glob: the folder's own name may hold '[' or '*'."""
    if prefix and _lists_by_prefix(filesystem):
        return list(_repeated(filesystem, lambda: filesystem.find(folder, prefix=prefix)))
    return list(_repeated(filesystem, lambda: filesystem.ls(folder, detail=False)))


def _repeated(filesystem: Any, operation: Callable[[], T]) -> T:
    """Until a passing failure has passed, afresh: others write, clients remember listings."""

    def fresh() -> T:
        filesystem.invalidate_cache()
        return operation()

    return retry_of(filesystem)(fresh)


def _lists_by_prefix(filesystem: Any) -> bool:
    """Object stores list a prefix without listing all that lies beside it."""
    finder = getattr(filesystem, "_find", None)
    return finder is not None and "prefix" in inspect.signature(finder).parameters
