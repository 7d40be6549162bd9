"""Loose image files: every file is a row, its name the key."""

from __future__ import annotations

import hashlib
from collections.abc import Generator

from pipeline.rows.errors import StorageError
from pipeline.sources.paths.spelling import spelled
from pipeline.sources.samples import Failure, Sample, constant_prompt, oversize
from pipeline.sources.shard import ReadOptions, Shard
from pipeline.storage.files import file_trouble, open_input

__all__ = ["bucket_of", "read_images"]


def bucket_of(key: str, count: int) -> int:
    """Which of a folder's `count` buckets the file of this key is in, 0 to `count` - 1.

    By name alone: a folder that grows leaves every file where it was.
    """
    digest = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % count


def read_images(shard: Shard, options: ReadOptions) -> Generator[Sample, None, None]:
    """One sample per file of the bucket, in its order. Files over the byte limit are not read on.

    A file that cannot be opened is a failed sample.

    Raises:
        StorageError: if the storage fails.
    """
    prompt = constant_prompt(options)
    for name in shard.files:
        image, failure = _read_file(f"{shard.url.rstrip('/')}/{name}", options)
        yield Sample(spelled(name), image, prompt, failure)


def _read_file(url: str, options: ReadOptions) -> tuple[bytes | None, Failure | None]:
    try:
        with open_input(url, options.storage_options) as file:
            data = file.read(options.max_image_bytes + 1)
            if len(data) <= options.max_image_bytes:
                return data, None
            return None, oversize(file.seek(0, 2), options.max_image_bytes)
    except StorageError as exc:
        if trouble := file_trouble(exc, url):
            return None, Failure(*trouble)
        raise
