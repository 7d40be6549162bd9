"""Looking into shards before the job: one that cannot be opened is left for the job to tell of."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pipeline.rows.errors import StorageError
from pipeline.sources.shard import Shard
from pipeline.storage.files import file_trouble

__all__ = ["passing_over"]


@contextlib.contextmanager
def passing_over(shard: Shard) -> Iterator[None]:
    """Leaves the block early where it is the shard's file alone that cannot be opened."""
    try:
        yield
    except StorageError as exc:
        if file_trouble(exc, shard.url) is None:
            raise
