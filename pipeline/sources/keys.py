"""Keys from the data -> `image_id`s that are safe to print, to compare and to use once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from pipeline.sources.samples import Failure

__all__ = ["UniqueKeys", "encode_control", "encode_unsafe"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ABSOLUTE = re.compile(r"^([/\\]|[A-Za-z]:[/\\])")
_CLIMBS = re.compile(r"(?:^|[/\\])\.\.(?=$|[/\\])")
# The ids of questions end like this: a key that does, too, could collide with them.
_QUESTION: Final = re.compile(r"#q\d+$")


class UniqueKeys:
    """Gives every sample of one shard an id that no other has.

    Args:
        names: of prompts, that ids of questions may end in.
        prefix: of ids, by default the shard's name and '#'.

    It holds the keys of the shard: all that is kept in memory of it.
    """

    def __init__(
        self, shard_name: str, names: Iterable[str] = (), prefix: str | None = None
    ) -> None:
        self._prefix = f"{shard_name}#" if prefix is None else prefix
        self._asked = re.compile("|".join([_QUESTION.pattern, *(f"#{name}$" for name in names)]))
        self._seen: set[str] = set()
        self._copies: dict[str, int] = {}

    def enter(self, key: str) -> tuple[str, str, Failure | None]:
        """The `image_id`, the key made printable, and what is wrong with the key, if anything."""
        safe = encode_unsafe(key, self._asked)
        failure = None if safe == key else Failure("key_unsafe", f"written as {safe!r}")
        unique = self._unique(safe)
        if unique != safe and failure is None:
            failure = Failure("key_duplicate", f"{safe!r} occurred before in this shard")
        return self._prefix + unique, safe, failure

    def _unique(self, key: str) -> str:
        unique, copies = key, self._copies.get(key, 1)
        while unique in self._seen:
            copies += 1
            unique = f"{key}~{copies}"
        self._seen.add(unique)
        if copies > 1:
            self._copies[key] = copies
        return unique


def encode_unsafe(key: str, asked: re.Pattern[str] = _QUESTION) -> str:
    """`key` with what makes it unsafe percent-encoded; equal to `key` when it is safe.

    Unsafe are absolute paths, '..' components (either slash), control characters, bytes that are
    no UTF-8, and endings that look like a question's id.
    """
    safe = _ABSOLUTE.sub(_percent, encode_control(key))
    safe = _CLIMBS.sub(lambda match: match.group().replace("..", "%2E%2E"), safe)
    return asked.sub(lambda match: "%23" + match.group()[1:], safe)


def encode_control(text: str) -> str:
    """`text` with control characters and bytes that are no UTF-8 percent-encoded."""
    return _CONTROL.sub(_percent, text)


def _percent(match: re.Match[str]) -> str:
    char = match.group()
    # Python shows a byte that is no UTF-8 as U+DC80..U+DCFF; other surrogates stand for themselves.
    undecoded = "\udc80" <= char[0] <= "\udcff"
    data = char.encode("utf-8", "surrogateescape" if undecoded else "surrogatepass")
    return "".join(f"%{byte:02X}" for byte in data)
