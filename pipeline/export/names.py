"""Image ids turned into names of files that are safe on any disk, and all different."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from pipeline.export.groups import Group
from pipeline.sources.shard import IMAGE_SUFFIXES

__all__ = ["folders_of", "item_names", "safe_path"]

_PLAIN: Final = frozenset("-_.=+@~,() ")
_LONGEST: Final = 180
"""Bytes of one part of a path: file systems take 255, and an ending is still to come."""
_LIKE_A_MARK: Final = re.compile(r"~(?=[0-9a-fA-F]{12}$)")
"""In a name of the data's own, which could else be made to be that of another."""


def folders_of(groups: Sequence[Group]) -> dict[str, str]:
    """The folder of each group by its name, '' for the top.

    That of a file which is also the beginning of another group's name gets a mark: a key with a
    slash in it could be a name of that group.
    """
    names = {group.name: _folder(group.name) for group in groups}
    above = {parent for folder in names.values() for parent in _parents(_folded(folder))}
    times = Counter(_folded(folder) for folder in names.values())
    found: dict[str, str] = {}
    for group in groups:
        folder = names[group.name]
        shared = times[_folded(folder)] > 1 or (_folded(folder) in above and not group.is_folder)
        found[group.name] = f"{folder}~{_mark(group.name)}" if shared else folder
    return found


def item_names(folder: str, keys: Mapping[str, str]) -> dict[str, str]:
    """A name without ending for each image id of `keys`, which has the images' keys.

    The ending of a key that is a file's name is left off. Names that would be one on a disk which
    does not tell cases apart get a mark, which is taken from the image id.
    """
    names = {image_id: safe_path(_stem(key)) for image_id, key in keys.items()}
    times = Counter(map(_folded, names.values()))
    return {
        image_id: _joined(folder, f"{name}~{_mark(image_id)}" if times[_folded(name)] > 1 else name)
        for image_id, name in names.items()
    }


def safe_path(text: str) -> str:
    """`text` as a relative path without '.', '..', hidden or empty parts.

    Letters and digits of any script, '/' and a few signs stay; all else is percent-encoded, and a
    part that is too long is cut and marked. Different texts give different paths.
    """
    return "/".join(map(_safe_part, text.split("/")))


def _folder(name: str) -> str:
    return "" if name in (".", "./") else safe_path(name.removesuffix("/"))


def _safe_part(part: str) -> str:
    if not part:
        return "%"
    safe = "".join(map(_safe_sign, part))
    if safe[0] in ". ":
        safe = f"%{ord(safe[0]):02X}{safe[1:]}"
    if safe[-1] in ". ":
        safe = f"{safe[:-1]}%{ord(safe[-1]):02X}"
    safe = _LIKE_A_MARK.sub("%7E", safe)
    if len(safe.encode()) <= _LONGEST:
        return safe
    return f"{safe.encode()[:_LONGEST].decode(errors='ignore')}~{_mark(part)}"


def _safe_sign(sign: str) -> str:
    if sign.isalnum() or sign in _PLAIN:
        return sign
    return "".join(f"%{byte:02X}" for byte in sign.encode("utf-8", "surrogatepass"))


def _stem(key: str) -> str:
    stem, dot, suffix = key.rpartition(".")
    return stem if dot and stem and suffix.lower() in IMAGE_SUFFIXES else key


def _folded(path: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", path).casefold())


def _parents(path: str) -> Iterable[str]:
    parts = path.split("/")
    return ("/".join(parts[:length]) for length in range(1, len(parts)))


def _mark(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
