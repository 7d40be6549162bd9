"""Folders on disk or in S3, as seen by something that is no part of the job."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq


@dataclass(frozen=True, kw_only=True)
class Folder:
    """A folder by URL; `options` are for fsspec."""

    url: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def files(self) -> dict[str, tuple[int, str]]:
        """Size and time of the last change, by path below the folder; hidden files as well."""
        filesystem, root = self._open()
        found = filesystem.find(root, detail=True)
        return {
            path.removeprefix(f"{root}/"): (info["size"], _changed(info))
            for path, info in found.items()
        }

    def names(self, kind: str) -> list[str]:
        """Parquet files in the folder `kind`."""
        filesystem, root = self._open()
        return sorted(filesystem.glob(f"{root}/{kind}/*.parquet"))

    def is_merging(self) -> bool:
        """Whether the journal of the job tells of parts that are being merged."""
        filesystem, root = self._open()
        try:
            return bool(json.loads(filesystem.cat_file(f"{root}/_ledger/merging.json"))["merges"])
        except FileNotFoundError:
            return False

    def tables(self, kind: str, columns: list[str]) -> Iterator[pa.Table]:
        filesystem, _ = self._open()
        for path in self.names(kind):
            yield pq.read_table(pa.BufferReader(filesystem.cat_file(path)), columns=columns)

    def _open(self) -> tuple[Any, str]:
        filesystem, root = fsspec.core.url_to_fs(self.url, **self.options)
        filesystem.invalidate_cache()  # others write
        return filesystem, root.rstrip("/")


def _changed(info: Mapping[str, Any]) -> str:
    """Of a local file with the inode, since a file that is replaced within a tick is a new one."""
    if "mtime" in info:
        return f"{info['mtime']} {info['ino']}"
    return f"{info['LastModified']} {info['ETag']}"
