"""WebDataset shards: the consecutive members of a tar that share a key are one sample.

Members are read as bytes, and only those an allow-list of suffixes names: nothing is unpickled,
decoded or extracted.
"""

from __future__ import annotations

import contextlib
import json
import re
import tarfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, Final

from pipeline.sources.carried.carried_values import Along, along_of_fields
from pipeline.sources.samples import (
    Failure,
    Prompt,
    Sample,
    broken_shard,
    constant_prompt,
    given_prompt,
    no_prompt,
    oversize,
)
from pipeline.sources.shard import IMAGE_SUFFIXES, MIB, ReadOptions, Shard
from pipeline.sources.tar_stream import DATA_ERRORS, open_tar
from pipeline.storage.files import open_input

__all__ = ["first_fields", "read_webdataset", "split_member"]

_TEXT_SUFFIX: Final = "txt"
_JSON_SUFFIX: Final = "json"
_CLASS_SUFFIX: Final = "cls"
_FIELD_SUFFIXES: Final = (_JSON_SUFFIX, _TEXT_SUFFIX, _CLASS_SUFFIX)
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,18}")
_MAX_TEXT_BYTES: Final = 1 * MIB


@dataclass(frozen=True, slots=True)
class _Part:
    """One member of a sample; `data` is None when it was not read."""

    key: str
    suffix: str
    data: bytes | None = None
    failure: Failure | None = None


def read_webdataset(shard: Shard, options: ReadOptions) -> Generator[Sample, None, None]:
    """The samples in archive order; after a break in the archive, one that tells of it.

    Raises:
        StorageError: if the file cannot be opened or read.
    """
    pending: dict[str, _Part] = {}
    wanted = IMAGE_SUFFIXES | _text_suffixes(options)
    with contextlib.closing(_parts(shard, options, wanted)) as parts:
        for part in parts:
            if isinstance(part, Failure):
                yield from _before_break(pending, options)
                yield broken_shard(part, options)
                return
            if pending and not _continues(pending, part):
                yield _sample(pending, options)
                pending = {}
            pending[part.suffix] = part
    if pending:
        yield _sample(pending, options)


def split_member(name: str) -> tuple[str, str] | None:
    """Key and lower-case suffix of a member: split at the first dot of the base name.

    None for members that belong to no sample: without a dot, or hidden.
    """
    start = max(name.rfind("/"), name.rfind("\\")) + 1
    stem, dot, suffix = name[start:].partition(".")
    return (name[:start] + stem, suffix.lower()) if stem and dot else None


def first_fields(shard: Shard, options: ReadOptions, num_samples: int) -> list[dict[str, Any]]:
    """What goes along with the first samples, by name; no image is read.

    Raises:
        StorageError: if the file cannot be opened or read.
    """
    found: list[dict[str, Any]] = []
    pending: dict[str, _Part] = {}
    with contextlib.closing(_parts(shard, options, frozenset(_FIELD_SUFFIXES))) as parts:
        for part in parts:
            if isinstance(part, Failure) or len(found) == num_samples:
                break
            if pending and not _continues(pending, part):
                found.append(_fields(pending))
                pending = {}
            pending[part.suffix] = part
    return [*found, _fields(pending)][:num_samples]


def _parts(
    shard: Shard, options: ReadOptions, wanted: frozenset[str]
) -> Generator[_Part | Failure, None, None]:
    """The members that belong to samples; a failure as the last one if the archive is broken.

    Args:
        wanted: suffixes of the members to read.
    """
    code = "shard_corrupt"
    with open_input(shard.url, options.storage_options) as file:
        try:
            with open_tar(file) as tar:
                code = "shard_truncated"
                while (member := tar.next()) is not None:
                    # `tarfile` would keep every header of the shard.
                    tar.members.clear()  # type: ignore[attr-defined]  # Not in typeshed.
                    if (part := _part(tar, member, options, wanted)) is not None:
                        yield part
        except DATA_ERRORS as exc:
            yield Failure(code, f"{type(exc).__name__}: {exc}")


def _part(
    tar: tarfile.TarFile, member: tarfile.TarInfo, options: ReadOptions, wanted: frozenset[str]
) -> _Part | None:
    split = split_member(member.name)
    if split is None or member.isdir():
        return None
    key, suffix = split
    if not member.isfile():
        failure = Failure("member_not_a_file", f"{member.name} is of tar type {member.type!r}")
        return _Part(key, suffix, failure=failure)
    if suffix not in wanted:
        return _Part(key, suffix)
    max_bytes = options.max_image_bytes if suffix in IMAGE_SUFFIXES else _MAX_TEXT_BYTES
    if member.size > max_bytes:
        return _Part(key, suffix, failure=oversize(member.size, max_bytes))
    file = tar.extractfile(member)
    assert file is not None, "only directories and links have no file"
    return _Part(key, suffix, file.read())


def _continues(pending: dict[str, _Part], part: _Part) -> bool:
    """Whether `part` is of the same sample: a suffix seen before begins another one."""
    return part.suffix not in pending and part.key == next(iter(pending.values())).key


def _before_break(pending: dict[str, _Part], options: ReadOptions) -> Iterator[Sample]:
    """The sample at the break, if all that is needed of it came before."""
    if not pending:
        return
    sample = _sample(pending, options)
    has_image = sample.failure is None or sample.failure.code != "image_missing"
    has_image = has_image and pending.keys() >= _text_suffixes(options)
    if has_image and sample.prompt.failure is None:
        yield sample


def _sample(pending: dict[str, _Part], options: ReadOptions) -> Sample:
    parts = list(pending.values())
    prompt = _prompt(pending, options)
    along = _along(pending, options)
    image = next((part for part in parts if part.suffix in IMAGE_SUFFIXES), None)
    image = image or next((part for part in parts if part.failure), None)
    if image is None:
        found = ", ".join(f".{part.suffix}" for part in parts)
        failure = Failure("image_missing", f"no image among the members: {found}")
        return Sample(parts[0].key, None, prompt, failure, along)
    return Sample(image.key, image.data, prompt, image.failure, along)


def _prompt(pending: dict[str, _Part], options: ReadOptions) -> Prompt:
    if options.prompt_column is None:
        return constant_prompt(options)
    suffix = _text_suffix(options)
    part = pending.get(suffix, _Part("", suffix))
    if part.data is None:
        detail = part.failure.detail if part.failure else f"the sample has no .{suffix} member"
        return no_prompt(detail)
    if suffix == _TEXT_SUFFIX:
        return given_prompt(part.data.strip())
    return _json_prompt(part.data, options.prompt_column)


def _json_prompt(data: bytes, name: str) -> Prompt:
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as exc:
        return no_prompt(f"the .json member does not parse: {exc}")
    if not isinstance(fields, dict) or name not in fields:
        return no_prompt(f"the .json member has no field {name!r}")
    return given_prompt(fields[name])


def _along(pending: dict[str, _Part], options: ReadOptions) -> Along:
    if not options.columns_along:
        return Along()
    found = _fields(pending)
    return along_of_fields(found, options.carried, options.fields, options.max_carried_bytes)


def _fields(pending: dict[str, _Part]) -> dict[str, Any]:
    """Of the .json member, and the other members of texts by their suffixes."""
    texts: dict[str, Any] = {
        suffix: part.data.decode("utf-8", "replace").strip()
        for suffix in (_TEXT_SUFFIX, _CLASS_SUFFIX)
        if (part := pending.get(suffix)) is not None and part.data is not None
    }
    if _WHOLE.fullmatch(texts.get(_CLASS_SUFFIX, "")):
        texts[_CLASS_SUFFIX] = int(texts[_CLASS_SUFFIX])
    return texts | _json_fields(pending.get(_JSON_SUFFIX))


def _json_fields(part: _Part | None) -> dict[str, Any]:
    """None, where the member does not parse or is no object."""
    if part is None or part.data is None:
        return {}
    try:
        fields = json.loads(part.data)
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _text_suffixes(options: ReadOptions) -> frozenset[str]:
    """Suffixes of the members besides the image that are needed."""
    along = set(options.columns_along)
    members = along & {_TEXT_SUFFIX, _CLASS_SUFFIX} | ({_JSON_SUFFIX} if along else set())
    return frozenset(members | ({_text_suffix(options)} - {""}))


def _text_suffix(options: ReadOptions) -> str:
    """Suffix of the member that holds the prompt, '' when none is needed."""
    if options.prompt_column is None:
        return ""
    return _TEXT_SUFFIX if options.prompt_column == _TEXT_SUFFIX else _JSON_SUFFIX
