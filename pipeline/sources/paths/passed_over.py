"""What of an input is no row, files and members of tars: counted by reason, said in one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from pipeline.sources.samples import one_line

__all__ = [
    "HIDDEN",
    "NO_ENDING",
    "OTHER_IMAGES",
    "counted_by_reason",
    "ending_of",
    "is_hidden",
    "is_of_others",
    "told",
]

HIDDEN: Final = "hidden"
OTHERS: Final = "of another program"
IN_A_CIRCLE: Final = "link in a circle"
NOT_LISTED: Final = "folder without permission"
CACHED: Final = "cache of a dataset"
LISTS: Final = "list beside other input"
OTHER_IMAGES: Final = "other images of a sample"
NO_ENDING: Final = "without an ending"
"""Reasons; others are endings of names, as ".xyz"."""

_MOST: Final = 20
_OTHERS: Final = frozenset(("_temporary", "_delta_log", "_spark_metadata", "_ledger"))
_BEFORE_COMPRESSION: Final = frozenset(("gz", "bz2", "xz", "zst", "lz4", "br"))


def is_hidden(name: str) -> bool:
    """Whether a part of the path begins with a dot, as `.git/x.jpg` and the `._x.jpg` of macOS."""
    return any(part.startswith(".") for part in name.split("/"))


def is_of_others(name: str) -> bool:
    """Whether it lies in a folder where Spark, Delta Lake or this job keep their own files."""
    return not _OTHERS.isdisjoint(name.split("/")[:-1])


def ending_of(name: str) -> str:
    """As ".xyz" or ".tar.xz", in lower case; `NO_ENDING` of a name without one."""
    stem, dot, suffix = name.rpartition("/")[2].rpartition(".")
    if not stem or not dot or not suffix or " " in suffix:
        return NO_ENDING
    inner = stem.rpartition(".")[2]
    if suffix.lower() in _BEFORE_COMPRESSION and inner != stem and len(inner) <= 8:
        suffix = f"{inner}.{suffix}"
    return f".{one_line(suffix.lower())[:40]}"


def counted_by_reason(reasons: Mapping[str, str]) -> dict[str, int]:
    """Files by reason, most first; a file that is alone with its ending by its own name.

    Args:
        reasons: by name of file. Rare endings beyond the twentieth are counted together.
    """
    times = Counter(reasons.values())
    named = {reason: name for name, reason in reasons.items()}
    found: dict[str, int] = {}
    for reason, count in sorted(times.items(), key=lambda each: (-each[1], each[0])):
        is_ending = reason.startswith(".") or reason == NO_ENDING
        alone = count == 1 and is_ending
        label = one_line(named[reason].rpartition("/")[2])[:60] if alone else reason
        if len(found) >= _MOST:
            label = "others"
        found[label] = found.get(label, 0) + count
    return found


def told(counts: Mapping[str, int]) -> str:
    """E.g. "3 .xyz, 1 README.md, 2 hidden"."""
    return ", ".join(f"{count:,} {reason}" for reason, count in counts.items())


def seen_of(counts: Mapping[str, int]) -> Iterable[str]:
    """Reasons that a person can do something about: hidden files are nobody's loss."""
    return (reason for reason in counts if reason != HIDDEN)
