"""Inputs -> shards: formats told apart, each file once, in an order that never changes."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pipeline.rows.errors import InputError
from pipeline.sources.discovery import STATE_FILE, FileInfo, FoundFiles, discover, format_of
from pipeline.sources.images import bucket_of
from pipeline.sources.keys import encode_control
from pipeline.sources.named.hub_dataset import hub_folders, is_hub_dataset
from pipeline.sources.paths.braces import expanded
from pipeline.sources.paths.passed_over import CACHED, counted_by_reason
from pipeline.sources.paths.spelling import spelled
from pipeline.sources.shard import Shard
from pipeline.storage.files import local_path, open_input, redact_url, url_parts

__all__ = ["Listing", "list_input"]

_IMAGES_PER_BUCKET: Final = 64
_MIN_BUCKETS: Final = 16  # so that a folder that begins small can grow
_Parts = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _File:
    url: str
    info: FileInfo


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What there is to read.

    Attributes:
        shards: sorted by name.
        root: what names are relative to, without credentials.
        passed_over: files that are not read, by reason (`pipeline.sources.paths.passed_over`).
    """

    shards: tuple[Shard, ...]
    root: str
    passed_over: Mapping[str, int] = field(default_factory=dict)


def list_input(
    inputs: Sequence[str],
    *,
    storage_options: Mapping[str, Any],
    input_root: str | None = None,
    known_root: str | None = None,
    buckets: Mapping[str, int] | None = None,
    old_names: bool = False,
) -> Listing:
    """The shards of all inputs.

    Args:
        inputs: Files, globs (`*`, `**`), `{00..12}` and directories, as paths or fsspec URLs, and
            `hf-dataset:NAME[:CONFIG[:SPLIT]]`; all formats may be mixed.
        storage_options: Passed to fsspec.
        input_root: What names are relative to; by default the longest directory that all inputs
            share. Name it when `image_id`s must be equal between runs over different inputs.
        known_root: The `Listing.root` of an earlier run: taken instead of the default if all
            inputs lie below it.
        buckets: Into how many buckets folders of loose images are divided, by name; others get a
            number that suits their size.
        old_names: call folders of loose images as outputs of before had it: `photos`, not
            `photos/`, which makes ids of it like `photos#a.jpg`.

    Raises:
        InputError: if an input matches nothing or is of no known format, or lies outside the root.
        StorageError: if listing fails.
    """
    if not inputs:
        raise InputError("no input given")
    urls = [url for each in inputs for url in _urls_of(each, storage_options)]
    found = [discover(url, storage_options) for url in urls]
    root = _root(input_root, known_root, found)
    files = {url_parts(url): _File(url, info) for each in found for url, info in each.files.items()}
    passed = {url_parts(url): why for each in found for url, why in each.passed.items()}
    shards: list[Shard] = []
    by_directory = sorted(files, key=lambda parts: (parts[:-1], parts[-1]))
    for _, group in itertools.groupby(by_directory, key=lambda parts: parts[:-1]):
        there = {parts: files[parts] for parts in group}
        kept = _only_dataset_files(there, storage_options)
        passed |= dict.fromkeys(there.keys() - kept.keys(), CACHED)
        shards += _file_shards(kept, root, old_names)
        shards += _image_shards(kept, root, buckets or {}, old_names)
    in_order = sorted(shards, key=lambda shard: (shard.name, shard.files))
    left = [parts for parts, why in passed.items() if why == CACHED or parts not in files]
    reasons = {"/".join(parts): passed[parts] for parts in left}
    return Listing(
        shards=tuple(in_order), root="/".join(root), passed_over=counted_by_reason(reasons)
    )


def _urls_of(given: str, storage_options: Mapping[str, Any]) -> Sequence[str]:
    if is_hub_dataset(given):
        return hub_folders(given, storage_options)
    return list(expanded(given))


def _root(given: str | None, known: str | None, found: Sequence[FoundFiles]) -> _Parts:
    if given is not None:
        return url_parts(local_path(given) or given)
    bases = [url_parts(each.base_url) for each in found]
    if known is not None:
        parts = tuple(known.split("/"))
        if all(base[: len(parts)] == parts for base in bases):
            return parts
    levels = itertools.takewhile(lambda level: len(set(level)) == 1, zip(*bases, strict=False))
    return tuple(level[0] for level in levels)


def _file_shards(files: Mapping[_Parts, _File], root: _Parts, old_names: bool) -> Iterator[Shard]:
    """Shards of the files of one directory that hold many images each."""
    for parts, file in files.items():
        fmt = format_of(parts[-1])
        if fmt is not None and fmt != "images":
            yield Shard(
                url=file.url,
                name=_name(parts, root, file.url, old_names),
                format=fmt,
                size_bytes=file.info.size_bytes,
                signature=file.info.signature,
            )


def _image_shards(
    files: Mapping[_Parts, _File], root: _Parts, buckets: Mapping[str, int], old_names: bool
) -> Iterator[Shard]:
    """The loose images of one directory, divided by name."""
    images = {parts: file for parts, file in files.items() if format_of(parts[-1]) == "images"}
    if not images:
        return
    first, file = next(iter(images.items()))
    name = _name(first[:-1], root, file.url, old_names)
    name = (name or ".") if old_names else f"{name or '.'}/"
    count = buckets.get(name) or _num_buckets(len(images))
    divided: dict[int, list[_File]] = defaultdict(list)
    for file in images.values():
        divided[bucket_of(spelled(_base(file)), count)].append(file)
    for bucket, chosen in sorted(divided.items()):
        yield _image_shard(chosen, name, f"{bucket}/{count}")


def _num_buckets(num_images: int) -> int:
    """A power of two."""
    return max(_MIN_BUCKETS, 1 << (num_images // _IMAGES_PER_BUCKET).bit_length())


def _image_shard(files: Sequence[_File], name: str, bucket: str) -> Shard:
    sizes = [file.info.size_bytes for file in files]
    return Shard(
        url=files[0].url.rpartition("/")[0],
        name=name,
        format="images",
        files=tuple(_base(file) for file in files),
        bucket=bucket,
        size_bytes=None if None in sizes else sum(size or 0 for size in sizes),
        signature=json.dumps({_base(file): file.info.signature for file in files}),
    )


def _base(file: _File) -> str:
    return file.url.rpartition("/")[2]


def _name(parts: _Parts, root: _Parts, url: str, old_names: bool) -> str:
    if parts[: len(root)] != root:
        raise InputError(f"{redact_url(url)} is not below the input root {'/'.join(root)}")
    name = "/".join(parts[len(root) :])
    return encode_control(name) if old_names else spelled(name)


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
