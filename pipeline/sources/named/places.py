"""Where a path or URL of a table leads: never out of the folder that it may name files of."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pipeline.rows.errors import InputError
from pipeline.sources.samples import Failure
from pipeline.storage.files import (
    filesystem,
    local_path,
    redact_url,
    storage_errors,
    url_parts,
)
from pipeline.storage.walk import exists

__all__ = ["Place", "check_root", "place_of"]

_MAX_CHARS: Final = 8192
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
_WEB: Final = ("http", "https")


@dataclass(frozen=True, slots=True)
class Place:
    """A file or page that may be read.

    Attributes:
        url: absolute path of a local file, or the URL of any other.
        is_web: whether it is fetched by HTTP.
    """

    url: str
    is_web: bool


def place_of(text: str, table_url: str, image_root: str | None) -> Place | Failure:
    """What `text` of a table means.

    Paths are relative to `image_root`, by default to the table's folder, and lead nowhere else.
    One that begins with '..' is relative to the table in any case. An absolute path or a URL of
    the same storage does if it lies below. Pages of the web may be named by any table.
    """
    if len(text) > _MAX_CHARS or "\0" in text or not _is_encodable(text):
        detail = f"no path: {len(text)} characters, of {_MAX_CHARS} at most, none of them a NUL"
        return Failure("path_not_allowed", detail)
    scheme = _scheme(text)
    if scheme in _WEB:
        return Place(text, is_web=True)
    if scheme == "data":
        return Failure("url_not_allowed", "a data: URL; put the bytes in a binary column")
    own = _folder(table_url)
    root = own if image_root is None else (local_path(image_root) or image_root).rstrip("/")
    target = _normal(_target(text, scheme, own, root))
    below = url_parts(root)
    if target is None or len(url_parts(target)) <= len(below):
        return _outside(text, root)
    if url_parts(target)[: len(below)] != below or (_scheme(target) and "::" in text):
        return _outside(text, root)
    return Place(target, is_web=_scheme(target) in _WEB)


def check_root(image_root: str | None, storage_options: Mapping[str, Any]) -> None:
    """Refuses a root that is not there: every row would be quarantined.

    Raises:
        InputError: if it is not there, or of an unknown storage.
        StorageError: if its storage fails.
    """
    if image_root is None or _scheme(image_root) in _WEB:
        return
    fs, path = filesystem(local_path(image_root) or image_root, storage_options)
    with storage_errors("look for", image_root):
        if not exists(fs, path):
            raise InputError(f"image_root: {redact_url(image_root)} is not there")


def _target(text: str, scheme: str, own: str, root: str) -> str:
    if scheme in ("file", "local"):
        return "/" + text.partition("://")[2].removeprefix("localhost").lstrip("/")
    if scheme or text.startswith("/"):
        return text
    climbs = re.split(r"/+", text)[0] == ".."
    return f"{own if climbs else root}/{text}"


def _is_encodable(text: str) -> bool:
    """JSON can spell surrogates that stand for no byte."""
    try:
        return bool(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        return False


def _outside(text: str, root: str) -> Failure:
    shown = redact_url(text)
    detail = f"not below {redact_url(root)}; name a folder above it with --image-root: {shown}"
    return Failure("path_not_allowed", detail)


def _scheme(text: str) -> str:
    if text[:5].lower() == "data:":
        return "data"
    found = _SCHEME.match(text)
    return found[1].lower() if found else ""


def _folder(table_url: str) -> str:
    path = local_path(table_url)
    if path is not None:
        return path.rpartition("/")[0]
    is_web = _scheme(table_url) in _WEB
    return (table_url.partition("?")[0] if is_web else table_url).rpartition("/")[0]


def _normal(url: str) -> str | None:
    """With '.' and '..' carried out; None if they climb above the host, or the disk's root."""
    mark = _SCHEME.match(url)
    head = mark[0] if mark else ""
    parts = url[len(head) :].split("/")
    # Of a URL the host, of a path the nothing before its first slash: neither is climbed over.
    kept = _climbed(parts[1:], is_local=not head)
    return None if kept is None else head + "/".join([parts[0], *kept])


def _climbed(parts: Sequence[str], *, is_local: bool) -> list[str] | None:
    kept: list[str] = []
    for part in parts:
        if part == "..":
            if not kept:
                return None
            kept.pop()
        elif part != "." and (part or not is_local):
            kept.append(part)
    return kept
