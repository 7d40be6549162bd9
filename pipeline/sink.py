"""Part files that are there whole or not at all."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import StorageError
from pipeline.sources import redact_url

KINDS: Final = ("captions", "quarantine", "stats")
REPORT: Final = "report.json"
METADATA_KEY: Final = b"hired"


@dataclass(frozen=True, kw_only=True)
class Sink:
    """The output folder: `<kind>/part-*.parquet` and `report.json`.

    On object stores a part is a single PUT; on file systems it is written aside and renamed.
    Every part carries, as Parquet metadata, what made it.
    """

    url: str
    storage_options: Mapping[str, Any] = field(default_factory=dict)

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
        self._put(REPORT, (json.dumps(report, indent=2) + "\n").encode())

    def _put(self, name: str, data: bytes) -> None:
        filesystem, root = self._open()
        path = f"{root}/{name}"
        try:
            if "file" not in filesystem.protocol:
                return filesystem.pipe_file(path, data)  # type: ignore[no-any-return]
            folder, _, base = path.rpartition("/")
            filesystem.makedirs(folder, exist_ok=True)
            aside = f"{folder}/.{base}.{uuid.uuid4().hex}.tmp"
            filesystem.pipe_file(aside, data)
            filesystem.mv(aside, path)
        except OSError as exc:
            raise StorageError(f"cannot write {redact_url(self.url)}/{name}: {exc}") from exc
        return None

    def parts(self, kind: str) -> list[str]:
        """Paths of the parts of `kind`, sorted."""
        filesystem, root = self._open()
        try:
            return sorted(filesystem.glob(f"{root}/{kind}/part-*.parquet"))
        except FileNotFoundError:
            return []

    def read(self, kind: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """Tables of all parts of `kind`, one at a time."""
        filesystem, _ = self._open()
        for path in self.parts(kind):
            with filesystem.open(path, "rb") as file:
                yield pq.read_table(file, columns=columns)

    def clear(self) -> None:
        """Delete every part and the report; nothing else that may lie in the folder."""
        filesystem, root = self._open()
        paths = [path for kind in KINDS for path in self.parts(kind)]
        report = f"{root}/{REPORT}"
        for path in [*paths, *([report] if filesystem.exists(report) else [])]:
            filesystem.rm_file(path)

    def _open(self) -> tuple[Any, str]:
        try:
            filesystem, root = fsspec.core.url_to_fs(self.url, **self.storage_options)
        except (ValueError, ImportError, OSError) as exc:
            raise StorageError(f"cannot open {redact_url(self.url)}: {exc}") from exc
        return filesystem, str(root).rstrip("/")
