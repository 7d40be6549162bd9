"""What an output was made with: it holds the results of one configuration, never of two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pipeline.parts.sink import LEDGER_FOLDER
from pipeline.rows.errors import ConfigError, StorageError
from pipeline.storage.store import Store

IDENTITY: Final = f"{LEDGER_FOLDER}/output.json"
CLEARING: Final = f"{LEDGER_FOLDER}/clearing.json"
_VERSION: Final = 2
OLD_NAMES: Final = 1
"""Outputs of this version call folders of loose images `photos`, and images `photos#a.jpg`."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Stored with an output when its first run begins.

    Attributes:
        fields: what the fingerprint is taken over.
        input_root: what shard names are relative to, without credentials; None if that was lost.
        version: of the output's format, which it keeps: its ids are the key of resume.
    """

    fingerprint: str
    fields: Mapping[str, Any]
    input_root: str | None
    version: int = _VERSION

    @property
    def has_old_names(self) -> bool:
        """Whether ids of loose images are written as they were before (`Shard.name`)."""
        return self.version <= OLD_NAMES

    def save(self, store: Store) -> None:
        store.put_json(IDENTITY, vars(self))


def load_identity(store: Store) -> Identity | None:
    """None for an output that no run has begun to fill.

    Raises:
        StorageError: if it was written by a later version of this program.
    """
    content = store.get_json(IDENTITY)
    if content is None:
        return None
    if (version := content["version"]) not in (OLD_NAMES, _VERSION):
        raise StorageError(f"the output has format {version}, this program writes {_VERSION}")
    return Identity(**content)


def check_same(there: Identity, here: Identity) -> None:
    """Refuses to mix two configurations.

    Raises:
        ConfigError: naming what differs and the ways out.
    """
    if there.fingerprint == here.fingerprint:
        return
    before, now = _flat(there.fields), _flat(here.fields)
    differing = [
        f"{key} was {before.get(key)!r}, now {now.get(key)!r}"
        for key in sorted({*before, *now})
        if before.get(key) != now.get(key)
    ]
    raise ConfigError(
        f"output: holds the results of another configuration: {'; '.join(differing)}. Give another "
        "--output, or --new-run (keeps them, writes beside them), or --overwrite (deletes them)"
    )


def _flat(fields: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in fields.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
