"""What one input (a file, a glob or a directory) matches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pipeline.rows.errors import InputError
from pipeline.sources.shard import IMAGE_SUFFIXES, ShardFormat
from pipeline.storage.files import (
    filesystem,
    local_path,
    redact_url,
    storage_errors,
    url_parts,
)
from pipeline.storage.walk import (
    exists,
    expand,
    file_info,
    missing_bucket,
    plain_path,
    walk,
)

__all__ = ["STATE_FILE", "FileInfo", "FoundFiles", "discover", "format_of"]

STATE_FILE: Final = "state.json"
"""Marks a directory written by Hugging Face `save_to_disk`."""

# How file systems spell what changes with a file's content; the first that is there counts.
_VERSIONS: Final = (
    *("ETag", "etag", "md5Hash", "content_md5", "checksum", "blob_id"),
    *("mtime", "last_modified", "LastModified", "updated", "modified"),
)
_SUFFIXES: Final[dict[str, ShardFormat]] = {
    ".parquet": "parquet",
    ".tar": "webdataset",
    ".tar.gz": "webdataset",
    ".tgz": "webdataset",
    ".arrow": "arrow",
    **dict.fromkeys((".csv", ".tsv", ".csv.gz", ".tsv.gz"), "csv"),
    **dict.fromkeys((".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz"), "jsonl"),
    **{f".{suffix}": "images" for suffix in sorted(IMAGE_SUFFIXES)},
}


@dataclass(frozen=True, slots=True)
class FileInfo:
    """What a listing tells of a file."""

    size_bytes: int | None
    signature: str
    """Changes when the file does, as far as the storage tells."""


@dataclass(frozen=True, kw_only=True)
class FoundFiles:
    """Files below one directory."""

    base_url: str
    """The directory that all files are below: of a glob, the part without wildcards."""

    files: Mapping[str, FileInfo]
    """By URL."""


def discover(url: str, storage_options: Mapping[str, Any]) -> FoundFiles:
    """The files of known formats that `url` stands for, and the state.json files beside them.

    Directories, also those a glob matches, are walked; names that begin with '.' or '_' are
    skipped there. Symbolic links to directories are followed only where `url` names them.

    Raises:
        InputError: if nothing matches, or a named file is of no known format.
        StorageError: if listing fails.
    """
    if "::" in url:
        raise InputError(f"{redact_url(url)}: chained URLs are not supported")
    url = local_path(url) or url
    fs, path = filesystem(url, storage_options)
    with storage_errors("list", url):
        try:
            found = _glob(fs, url) if _is_glob(fs, url, path) else _named(fs, url, path)
        except FileNotFoundError as exc:
            raise _nothing(fs, path, url) from exc
        except ValueError as exc:  # A pattern that the file system does not do.
            raise InputError(f"cannot list {redact_url(url)}: {exc}") from exc
    if not any(format_of(url_parts(file)[-1]) for file in found.files):
        known = ", ".join(_SUFFIXES)
        raise _nothing(fs, path, url, f" and ends in one of {known}")
    return found


def _nothing(fs: Any, path: str, url: str, more: str = "") -> InputError:
    """That nothing was found; of an object store also whether there is any such bucket."""
    if (bucket := missing_bucket(fs, path)) is not None:
        told = f"there is no bucket {bucket!r}, or these credentials may not see it"
        return InputError(f"{redact_url(url)}: {told}")
    return InputError(f"nothing matches {redact_url(url)}{more}")


def format_of(name: str) -> ShardFormat | None:
    """The format a file name's ending tells, in any case; None for other files."""
    lower = name.lower()
    return next((fmt for suffix, fmt in _SUFFIXES.items() if lower.endswith(suffix)), None)


def _is_glob(fs: Any, url: str, path: str) -> bool:
    if "*" in url:
        return True
    # '?' and '[' may also be part of a name, or begin a query.
    return any(char in path for char in "?[") and not _is_web(url) and not exists(fs, path)


def _is_web(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def _named(fs: Any, url: str, path: str) -> FoundFiles:
    info = file_info(fs, path)
    if info["type"] == "directory":
        return _found(url, _visible(fs, path))
    if format_of(url_parts(url)[-1]) is None:
        known = ", ".join(_SUFFIXES)
        raise InputError(f"{redact_url(url)} is of no known format; known endings: {known}")
    _check_is_file(url, info)
    plain = url.partition("?")[0] if _is_web(url) else url
    return FoundFiles(base_url=plain.rpartition("/")[0], files={url: _info(info)})


def _glob(fs: Any, url: str) -> FoundFiles:
    base_url = _literal_directory(url)
    base_path = plain_path(fs, base_url)
    shown = _is_hidden(url[len(base_url) :].strip("/"))
    files: dict[str, dict[str, Any]] = {}
    walked = "\0"
    for path, info in sorted(expand(fs, url).items()):
        name = _relative(path, base_path)
        if _is_hidden(name) and not shown:
            continue
        if info["type"] != "directory":
            files[name] = info
        elif not path.startswith(walked):
            walked = f"{path.rstrip('/')}/"
            # '**' matches the base directory too: its name is ''.
            below = _visible(fs, path)
            files |= {f"{name}/{sub}".lstrip("/"): found for sub, found in below.items()}
    return _found(base_url, files)


def _visible(fs: Any, path: str) -> dict[str, dict[str, Any]]:
    """Files below the folder by their path there, without hidden ones."""
    infos = walk(fs, path)
    named = {_relative(found, path): info for found, info in infos.items()}
    return _without_lists_of_others(
        {name: info for name, info in named.items() if not _is_hidden(name)}
    )


def _without_lists_of_others(infos: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Without manifests where the folder has anything else to read.

    There, as metadata.csv in a folder of images, they list what is read already; named outright,
    or by a pattern, they are read.
    """
    formats = {name: format_of(name) for name in infos}
    if set(formats.values()) - {None, "csv", "jsonl"}:
        return {name: info for name, info in infos.items() if formats[name] not in ("csv", "jsonl")}
    return infos


def _found(base_url: str, infos: Mapping[str, dict[str, Any]]) -> FoundFiles:
    """The files of known formats among those below `base_url`."""
    base = base_url if base_url.endswith("/") else f"{base_url}/"
    files: dict[str, FileInfo] = {}
    for name, info in infos.items():
        if format_of(name) is not None or name.rpartition("/")[2] == STATE_FILE:
            _check_is_file(base + name, info)
            files[base + name] = _info(info)
    return FoundFiles(base_url=base_url, files=files)


def _check_is_file(url: str, info: Mapping[str, Any]) -> None:
    if info["type"] != "file":
        raise InputError(f"{redact_url(url)} is a broken link, or not a regular file")


def _info(info: Mapping[str, Any]) -> FileInfo:
    size = info.get("size")
    version = next((info[key] for key in _VERSIONS if info.get(key) is not None), "")
    return FileInfo(None if size is None else int(size), f"{size}:{version}")


def _literal_directory(url: str) -> str:
    first = min(i for char in "*?[" if (i := url.find(char)) >= 0)
    directory = url[:first].rpartition("/")[0]
    return f"{directory}/" if directory.endswith(("/", ":")) else directory or "/"


def _relative(path: str, base: str) -> str:
    assert path.startswith(base), f"{path} was listed below {base}"
    return path[len(base) :].strip("/")


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "_")) for part in name.split("/"))
