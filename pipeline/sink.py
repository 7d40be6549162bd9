"""Part files that are there whole or not at all."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any, Final

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import ConfigError, StorageError
from pipeline.sources.storage import open_path, storage_errors, with_client_defaults
from pipeline.sources.walk import ls
from pipeline.storage_write import put, remove

KINDS: Final = ("captions", "quarantine", "stats")
REPORT: Final = "report.json"
METADATA_KEY: Final = b"hired"
_CHECK_BYTES: Final = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Sink:
    """The output folder: `<kind>/part-*.parquet` and `report.json`.

    On object stores a part is a single PUT; on file systems it is written aside and renamed.
    Every part carries, as Parquet metadata, what made it.
    """

    url: str = field(repr=False)
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def write(self, kind: str, name: str, table: pa.Table, provenance: Mapping[str, Any]) -> None:
        """Store `table` as part `name`, replacing one of that name.

        Raises:
            StorageError: if it cannot be stored.
        """
        metadata = {**(table.schema.metadata or {}), METADATA_KEY: json.dumps(dict(provenance))}
        buffer = io.BytesIO()
        pq.write_table(table.replace_schema_metadata(metadata), buffer, compression="zstd")
        self._put(f"{kind}/{name}", buffer.getvalue())

    def write_report(self, report: Mapping[str, Any]) -> None:
        self._put(REPORT, (json.dumps(report, indent=2, allow_nan=False) + "\n").encode())

    def check_writable(self) -> None:
        """Store and delete a small file: better to fail before a model runs than after.

        Raises:
            StorageError: if the output does not take or let go of it.
        """
        name = f".write-check-{uuid.uuid4().hex}"
        self._put(name, bytes(_CHECK_BYTES))  # A full disk still takes empty files.
        filesystem, root = self._open()
        with storage_errors("delete from", self.url):
            remove(filesystem, f"{root}/{name}")

    def _put(self, name: str, data: bytes) -> None:
        filesystem, root = self._open()
        path = f"{root}/{name}"
        with storage_errors(f"write {name} to", self.url):
            put(filesystem, path, data)

    def parts(self, kind: str) -> list[str]:
        """Paths of the parts of `kind`, sorted.

        Raises:
            StorageError: if they cannot be listed.
        """
        filesystem, root = self._open()
        with storage_errors(f"list {kind} of", self.url):
            try:
                # Not by a glob: the folder's own name may hold '[' or '*'.
                paths = [info["name"] for info in ls(filesystem, f"{root}/{kind}")]
            except FileNotFoundError:
                return []
        return sorted(path for path in map(str, paths) if _is_part(path))

    def read(self, kind: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """Tables of all parts of `kind`, one at a time.

        Raises:
            StorageError: if one cannot be read.
        """
        filesystem, _ = self._open()
        for path in self.parts(kind):
            # Parsed outside of any retry: a part that is broken stays so.
            with (
                storage_errors(f"read {kind} of", self.url),
                open_path(filesystem, path, self.url) as file,
            ):
                table = pq.read_table(file, columns=columns)
            yield table

    def clear(self) -> None:
        """Delete every part and the report; nothing else that may lie in the folder."""
        filesystem, root = self._open()
        paths = [path for kind in KINDS for path in self.parts(kind)]
        report = f"{root}/{REPORT}"
        with storage_errors("clear", self.url):
            for path in [*paths, report]:
                remove(filesystem, path)

    def _open(self) -> tuple[Any, str]:
        try:
            with storage_errors("open", self.url):
                options = with_client_defaults(self.url, self.storage_options)
                filesystem, root = fsspec.core.url_to_fs(self.url, **options)
        except StorageError as exc:
            if isinstance(exc.__cause__, (ValueError, ImportError)):  # no such protocol here
                raise ConfigError(f"output: {exc}") from exc
            raise
        return filesystem, str(root).rstrip("/")


def _is_part(path: str) -> bool:
    return fnmatch(path.rpartition("/")[2], "part-*.parquet")
