"""Inputs -> shards: formats told apart, each file once, in an order that never changes."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pipeline.errors import InputError
from pipeline.sources.discovery import STATE_FILE, Found, discover, format_of
from pipeline.sources.keys import encode_control
from pipeline.sources.shard import Shard
from pipeline.sources.storage import local_path, open_input, redact_url, url_parts

__all__ = ["list_shards"]

_IMAGES_PER_SHARD: Final = 64
_Parts = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _File:
    url: str
    size_bytes: int | None


def list_shards(
    inputs: Sequence[str],
    *,
    storage_options: Mapping[str, Any],
    input_root: str | None = None,
) -> tuple[Shard, ...]:
    """The shards of all inputs, sorted by name.

    Args:
        inputs: Files, globs (`*`, `**`) and directories, as paths or fsspec URLs; all formats
            may be mixed.
        storage_options: Passed to fsspec.
        input_root: What names are relative to; by default the longest directory that all inputs
            share. Name it when `image_id`s must be equal between runs over different inputs.

    Raises:
        InputError: if an input matches nothing or is of no known format, or lies outside the root.
        StorageError: if listing fails.
    """
    if not inputs:
        raise InputError("no input given")
    found = [discover(url, storage_options) for url in inputs]
    root = _root(input_root, found)
    files = {url_parts(url): _File(url, size) for each in found for url, size in each.sizes.items()}
    shards: list[Shard] = []
    by_directory = sorted(files, key=lambda parts: (parts[:-1], parts[-1]))
    for _, group in itertools.groupby(by_directory, key=lambda parts: parts[:-1]):
        shards += _directory_shards({parts: files[parts] for parts in group}, root, storage_options)
    return tuple(sorted(shards, key=lambda shard: (shard.name, shard.files)))


def _root(input_root: str | None, found: Sequence[Found]) -> _Parts:
    if input_root is not None:
        return url_parts(local_path(input_root) or input_root)
    bases = [url_parts(each.base_url) for each in found]
    levels = itertools.takewhile(lambda level: len(set(level)) == 1, zip(*bases, strict=False))
    return tuple(level[0] for level in levels)


def _directory_shards(
    files: Mapping[_Parts, _File], root: _Parts, storage_options: Mapping[str, Any]
) -> Iterator[Shard]:
    """Shards of the files of one directory."""
    kept = _only_dataset_files(files, storage_options)
    images: list[_Parts] = []
    for parts, file in kept.items():
        fmt = format_of(parts[-1])
        if fmt == "images":
            images.append(parts)
        elif fmt is not None:
            name = _name(parts, root, file.url)
            yield Shard(url=file.url, name=name, format=fmt, size_bytes=file.size_bytes)
    for start in range(0, len(images), _IMAGES_PER_SHARD):
        chunk = [files[parts] for parts in images[start : start + _IMAGES_PER_SHARD]]
        yield _image_shard(chunk, _name(images[0][:-1], root, chunk[0].url))


def _image_shard(chunk: Sequence[_File], name: str) -> Shard:
    sizes = [file.size_bytes for file in chunk]
    return Shard(
        url=chunk[0].url.rpartition("/")[0],
        name=name or ".",
        format="images",
        files=tuple(file.url.rpartition("/")[2] for file in chunk),
        size_bytes=None if None in sizes else sum(size or 0 for size in sizes),
    )


def _name(parts: _Parts, root: _Parts, url: str) -> str:
    if parts[: len(root)] != root:
        raise InputError(f"{redact_url(url)} is not below the input root {'/'.join(root)}")
    return encode_control("/".join(parts[len(root) :]))


def _only_dataset_files(
    files: Mapping[_Parts, _File], storage_options: Mapping[str, Any]
) -> Mapping[_Parts, _File]:
    """`files`, without the .arrow files that a `state.json` beside them does not list.

    Hugging Face leaves its caches (`cache-*.arrow`) beside the data files.
    """
    state = next((file for parts, file in files.items() if parts[-1] == STATE_FILE), None)
    listed = None if state is None else _data_files(state.url, storage_options)
    if state is None or listed is None:
        return files
    arrow = {parts[-1] for parts in files if format_of(parts[-1]) == "arrow"}
    if lost := sorted(listed - arrow):
        raise InputError(f"{redact_url(state.url)} lists {lost[0]}, which is not there")
    return {
        parts: file
        for parts, file in files.items()
        if format_of(parts[-1]) != "arrow" or parts[-1] in listed
    }


def _data_files(url: str, storage_options: Mapping[str, Any]) -> set[str] | None:
    """File names in a dataset's state.json; None for a state.json of some other program."""
    with open_input(url, storage_options) as file:
        try:
            entries = json.loads(file.read())["_data_files"]
            return {str(entry["filename"]) for entry in entries}
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
