"""Loose image files: every file is a row, its name the key."""

from __future__ import annotations

from collections.abc import Generator

from pipeline.sources.samples import Failure, Sample, constant_prompt, oversize
from pipeline.sources.shard import ReadOptions, Shard
from pipeline.sources.storage import open_input

__all__ = ["read_images"]


def read_images(shard: Shard, options: ReadOptions) -> Generator[Sample, None, None]:
    """One sample per file of the chunk, in its order. Files over the byte limit are not read on.

    Raises:
        StorageError: if a file cannot be opened or read, or is gone since it was listed.
    """
    prompt = constant_prompt(options)
    for name in shard.files:
        image, failure = _read_file(f"{shard.url.rstrip('/')}/{name}", options)
        yield Sample(name, image, prompt, failure)


def _read_file(url: str, options: ReadOptions) -> tuple[bytes | None, Failure | None]:
    with open_input(url, options.storage_options) as file:
        data = file.read(options.max_image_bytes + 1)
        if len(data) <= options.max_image_bytes:
            return data, None
        return None, oversize(file.seek(0, 2), options.max_image_bytes)
