"""How far an export is: one small file at its destination, replaced after each piece."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from pipeline.rows.errors import ConfigError, StorageError
from pipeline.storage.store import Store

__all__ = ["JOURNAL", "Journal", "open_journal"]

JOURNAL: Final = "_export/export.json"
_VERSION: Final = 1

_ADDED: Final = ("content_digest",)
"""What journals of earlier versions do not tell."""

_IN_WORDS: Final = {
    "captions_digest": "the output has other captions now",
    "content_digest": "captions of the output were made anew",
}


@dataclass(kw_only=True)
class Journal:
    """What is stored of an export.

    Attributes:
        settings: what was asked for, and which captions of which output that was.
        items: images whose files are all there, counted in the order of the export.
        rows: their captions.
    """

    settings: Mapping[str, Any]
    pieces: int = 0
    items: int = 0
    rows: int = 0
    complete: bool = False
    store: Store = field(repr=False)

    def save(self) -> None:
        content = {"version": _VERSION} | asdict(self)
        del content["store"]
        self.store.put_json(JOURNAL, content)


def open_journal(store: Store, settings: Mapping[str, Any]) -> Journal:
    """That of an export which was begun here, or a new one, stored before anything else is.

    Raises:
        ConfigError: if the destination holds another export, naming what differs.
    """
    content = store.get_json(JOURNAL)
    if content is None:
        journal = Journal(settings=settings, store=store)
        journal.save()
        return journal
    if (version := content.pop("version")) != _VERSION:
        raise StorageError(f"into: holds an export of format {version}, this one is {_VERSION}")
    differing = _differing(content["settings"], settings)
    if differing:
        raise ConfigError(
            f"into: holds another export: {'; '.join(differing)}. Give another --into, or delete it"
        )
    return Journal(**content, store=store)


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What of the settings is another, each in words."""
    keys = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    if "captions_digest" in keys:
        keys = [key for key in keys if key != "content_digest"]  # It follows from the other.
    return [
        _IN_WORDS.get(key, f"{key} was {before.get(key)!r}, now {now.get(key)!r}")
        for key in keys
        if key in before or key not in _ADDED
    ]
