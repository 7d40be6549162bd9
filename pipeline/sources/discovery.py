"""What one input (a file, a glob or a directory) matches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pipeline.rows.errors import InputError
from pipeline.sources.paths.passed_over import (
    HIDDEN,
    IN_A_CIRCLE,
    LISTS,
    NOT_LISTED,
    OTHERS,
    counted_by_reason,
    ending_of,
    is_hidden,
    is_of_others,
    told,
)
from pipeline.sources.shard import IMAGE_SUFFIXES, ShardFormat
from pipeline.storage.files import (
    filesystem,
    local_path,
    redact_url,
    storage_errors,
    url_parts,
)
from pipeline.storage.links import BROKEN, LOCKED, LOOP
from pipeline.storage.walk import (
    expand,
    file_info,
    literal_length,
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
    **dict.fromkeys((".parquet", ".parq", ".pq"), "parquet"),
    **dict.fromkeys((".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst"), "webdataset"),
    **dict.fromkeys((".tar.bz2", ".tbz2", ".tbz"), "webdataset"),
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

    passed: Mapping[str, str]
    """Of URLs that are not read, the reasons (`pipeline.sources.paths.passed_over`)."""


def discover(url: str, storage_options: Mapping[str, Any]) -> FoundFiles:
    """The files of known formats that `url` stands for, and the state.json files beside them.

    Directories, also those a glob matches, are walked, and links in them followed. Names that
    begin with '.' are passed over there. A path that is there as it is spelled is no glob.

    Raises:
        InputError: if nothing matches, or a named file is of no known format.
        StorageError: if listing fails.
    """
    url = local_path(url) or url
    if _is_chained(url):
        raise InputError(f"{redact_url(url)}: chained URLs are not supported")
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
        passed = told(counted_by_reason(found.passed))
        there = f" (passed over: {passed})" if passed else ""
        raise _nothing(fs, path, url, f" and ends in one of {known}{there}")
    return found


def _nothing(fs: Any, path: str, url: str, more: str = "") -> InputError:
    """That nothing was found; of an object store also whether there is any such bucket."""
    if (bucket := missing_bucket(fs, path)) is not None:
        why = f"there is no bucket {bucket!r}, or these credentials may not see it"
        return InputError(f"{redact_url(url)}: {why}")
    return InputError(f"nothing matches {redact_url(url)}{more}")


def _is_chained(url: str) -> bool:
    """Whether fsspec would look for one file system inside another."""
    if "://" not in url or "::" not in url:
        return False
    return "::" in url.partition("://")[0] or url.count("://") > 1


def format_of(name: str) -> ShardFormat | None:
    """The format a file name's ending tells, in any case; None for other files."""
    lower = name.lower()
    return next((fmt for suffix, fmt in _SUFFIXES.items() if lower.endswith(suffix)), None)


def _is_glob(fs: Any, url: str, path: str) -> bool:
    if "*" in url and local_path(url) is None:
        return True
    # They may also be part of a name, or begin a query.
    return any(char in path for char in "*?[") and not _is_web(url) and not _is_there(fs, path)


def _is_there(fs: Any, path: str) -> bool:
    try:
        file_info(fs, path)
    except FileNotFoundError:
        return False
    return True


def _is_web(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def _named(fs: Any, url: str, path: str) -> FoundFiles:
    info = file_info(fs, path)
    if info["type"] == "directory":
        return _found(url, _below(fs, path))
    if format_of(url_parts(url)[-1]) is None:
        known = ", ".join(_SUFFIXES)
        raise InputError(f"{redact_url(url)} is of no known format; known endings: {known}")
    plain = url.partition("?")[0] if _is_web(url) else url
    return FoundFiles(base_url=plain.rpartition("/")[0], files={url: _info(info)}, passed={})


def _glob(fs: Any, url: str) -> FoundFiles:
    base_url = _literal_directory(fs, url)
    base_path = plain_path(fs, base_url)
    shown = is_hidden(url[len(base_url) :].strip("/"))
    infos: dict[str, dict[str, Any]] = {}
    walked = "\0"
    for path, info in sorted(expand(fs, url).items()):
        name = _relative(path, base_path)
        if info["type"] != "directory":
            infos[name] = info | {"shown": shown, "named": True}
        elif not path.startswith(walked):
            walked = f"{path.rstrip('/')}/"
            # '**' matches the base directory too: its name is ''.
            for sub, found in _below(fs, path).items():
                shown_there = shown and not is_hidden(sub)
                infos[f"{name}/{sub}".lstrip("/")] = found | {"shown": shown_there}
    return _found(base_url, infos)


def _below(fs: Any, path: str) -> dict[str, dict[str, Any]]:
    """What is no folder below the folder, by its path there."""
    return {_relative(found, path): info for found, info in walk(fs, path).items()}


def _found(base_url: str, infos: Mapping[str, dict[str, Any]]) -> FoundFiles:
    """The files of known formats among those below `base_url`."""
    base = base_url if base_url.endswith("/") else f"{base_url}/"
    files: dict[str, FileInfo] = {}
    passed: dict[str, str] = {}
    for name, info in infos.items():
        if reason := _passed_over(name, info):
            passed[base + name] = reason
        else:
            files[base + name] = _info(info)
    lists = {base + n for n, info in infos.items() if is_list(n) and not info.get("named")}
    if any(format_of(name) and not is_list(name) for name in files):
        # As metadata.csv in a folder of images, they list what is read already.
        passed |= dict.fromkeys(lists & files.keys(), LISTS)
        files = {name: info for name, info in files.items() if name not in lists}
    return FoundFiles(base_url=base_url, files=files, passed=passed)


def is_list(name: str) -> bool:
    """Whether it is a manifest of other files, by its ending."""
    return format_of(name) in ("csv", "jsonl")


def _passed_over(name: str, info: Mapping[str, Any]) -> str | None:
    """Why it is not read; None for what becomes rows, be it bad ones."""
    if is_hidden(name) and not info.get("shown"):
        return HIDDEN
    if is_of_others(name):
        return OTHERS
    if info["type"] in (LOOP, LOCKED):
        return IN_A_CIRCLE if info["type"] == LOOP else NOT_LISTED
    if format_of(name) is None and name.rpartition("/")[2] != STATE_FILE:
        return ending_of(name)
    return None


def _info(info: Mapping[str, Any]) -> FileInfo:
    if info["type"] == BROKEN:
        return FileInfo(None, BROKEN)
    size = info.get("size")
    version = next((info[key] for key in _VERSIONS if info.get(key) is not None), "")
    return FileInfo(None if size is None else int(size), f"{size}:{version}")


def _literal_directory(fs: Any, url: str) -> str:
    """The part of the pattern without wildcards."""
    parts = plain_path(fs, url).split("/")
    wild = len(parts) - literal_length(fs, url)
    directory = url.rstrip("/").rsplit("/", wild)[0]
    return f"{directory}/" if directory.endswith(("/", ":")) else directory or "/"


def _relative(path: str, base: str) -> str:
    assert path.startswith(base), f"{path} was listed below {base}"
    return path[len(base) :].strip("/")
