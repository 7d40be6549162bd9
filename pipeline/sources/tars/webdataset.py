"""WebDataset shards: the members of a tar that share a key are one sample.

Members are read as bytes, and only those an allow-list of suffixes names: nothing is unpickled,
decoded or extracted.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import tarfile
from collections.abc import Generator, Mapping
from dataclasses import replace
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
from pipeline.sources.shard import IMAGE_SUFFIXES, MIB, ReadOptions, Shard, TarKeys
from pipeline.sources.tars.joining import (
    WINDOW_BYTES,
    Joined,
    Joiner,
    Part,
    is_image,
    kind_of,
)
from pipeline.sources.tars.tar_stream import DATA_ERRORS, open_tar
from pipeline.storage.files import open_input

__all__ = ["first_fields", "read_webdataset", "split_member"]

_TEXT_SUFFIX: Final = "txt"
_JSON_SUFFIX: Final = "json"
_CLASS_SUFFIX: Final = "cls"
_FIELD_SUFFIXES: Final = (_JSON_SUFFIX, _TEXT_SUFFIX, _CLASS_SUFFIX)
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,18}")
_MAX_TEXT_BYTES: Final = 1 * MIB
_MEMBERS_LOOKED_AT: Final = 4096


def read_webdataset(shard: Shard, options: ReadOptions) -> Generator[Sample, None, None]:
    """Each image with the texts of its sample; after a break in the archive, a sample that tells.

    Images come in archive order, but for those that wait for their texts, and samples without an
    image, which come last.

    Raises:
        StorageError: if the file cannot be opened or read.
    """
    texts = _text_suffixes(options)
    joiner = Joiner(texts, options.image_member)
    failure: Failure | None = None
    with contextlib.closing(_parts(shard, options, IMAGE_SUFFIXES | texts)) as parts:
        for part in parts:
            if isinstance(part, Failure):
                failure = part
            else:
                yield from (_sample(joined, options) for joined in joiner.add(part))
    yield from (_sample(joined, options) for joined in joiner.end(broken=failure is not None))
    if failure is not None:
        yield broken_shard(failure, options)


def split_member(name: str, rule: TarKeys = "first-dot") -> tuple[str, str] | None:
    """Key and lower-case suffix of a member: split at the first dot of the base name, or the last.

    None for members that belong to no sample: without a dot, or hidden.
    """
    start = max(name.rfind("/"), name.rfind("\\")) + 1
    base = name[start:]
    if base.startswith("."):
        return None
    stem, dot, suffix = base.partition(".") if rule == "first-dot" else base.rpartition(".")
    return (name[:start] + stem, suffix.lower()) if stem and dot else None


def first_fields(shard: Shard, options: ReadOptions, num_samples: int) -> list[dict[str, Any]]:
    """What goes along with the first samples, by name; no image is read.

    Raises:
        StorageError: if the file cannot be opened or read.
    """
    found: dict[str, dict[str, Part]] = {}
    with contextlib.closing(_parts(shard, options, frozenset(_FIELD_SUFFIXES))) as parts:
        for part in itertools.islice(parts, _MEMBERS_LOOKED_AT):
            if isinstance(part, Failure) or len(found) > num_samples:
                break
            if part.data is not None:
                found.setdefault(part.key, {})[kind_of(part.suffix)] = part
    return [_fields(texts) for texts in itertools.islice(found.values(), num_samples)]


def _parts(
    shard: Shard, options: ReadOptions, wanted: frozenset[str]
) -> Generator[Part | Failure, None, None]:
    """The members that belong to samples; a failure as the last one if the archive is broken.

    Args:
        wanted: kinds of the members to read.
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
) -> Part | None:
    split = split_member(member.name, options.tar_keys)
    if split is None or member.isdir():
        return None
    key, suffix = split
    made = Part(key, suffix, member.name[len(key) + 1 :])
    if not member.isfile():
        failure = Failure("member_not_a_file", f"{member.name} is of tar type {member.type!r}")
        return replace(made, failure=failure)
    kind = kind_of(suffix)
    is_left = kind in IMAGE_SUFFIXES and not is_image(suffix, options.image_member)
    if kind not in wanted or is_left:
        return made
    max_bytes = options.max_image_bytes if kind in IMAGE_SUFFIXES else _MAX_TEXT_BYTES
    if member.size > max_bytes:
        return replace(made, failure=oversize(member.size, max_bytes))
    file = tar.extractfile(member)
    assert file is not None, "only directories and links have no file"
    return replace(made, data=file.read())


def _sample(joined: Joined, options: ReadOptions) -> Sample:
    prompt, along = _prompt(joined.texts, options), _along(joined.texts, options)
    image = joined.image
    if image is not None:
        return Sample(joined.key, image.data, prompt, image.failure, along)
    found = ", ".join(f".{suffix}" for suffix in joined.suffixes)
    wanted = "image" if options.image_member is None else f"image {options.image_member!r}"
    missing = Failure("image_missing", f"no {wanted} among the members: {found}")
    return Sample(joined.key, None, prompt, joined.failure or missing, along)


def _prompt(texts: Mapping[str, Part], options: ReadOptions) -> Prompt:
    if options.prompt_column is None:
        return constant_prompt(options)
    suffix = _text_suffix(options)
    part = texts.get(suffix, Part("", suffix))
    if part.data is None:
        detail = part.failure.detail if part.failure else _no_text(suffix)
        return no_prompt(detail)
    if suffix == _TEXT_SUFFIX:
        return given_prompt(part.data.strip())
    return _json_prompt(part.data, options.prompt_column)


def _no_text(suffix: str) -> str:
    return f"the sample has no .{suffix} member within {WINDOW_BYTES // MIB} MiB"


def _json_prompt(data: bytes, name: str) -> Prompt:
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as exc:
        return no_prompt(f"the .json member does not parse: {exc}")
    if not isinstance(fields, dict) or name not in fields:
        return no_prompt(f"the .json member has no field {name!r}")
    return given_prompt(fields[name])


def _along(texts: Mapping[str, Part], options: ReadOptions) -> Along:
    if not options.columns_along:
        return Along()
    found = _fields(texts)
    return along_of_fields(found, options.carried, options.fields, options.max_carried_bytes)


def _fields(members: Mapping[str, Part]) -> dict[str, Any]:
    """Of the .json member, and the other members of texts by their kinds."""
    texts: dict[str, Any] = {
        suffix: part.data.decode("utf-8", "replace").strip()
        for suffix in (_TEXT_SUFFIX, _CLASS_SUFFIX)
        if (part := members.get(suffix)) is not None and part.data is not None
    }
    if _WHOLE.fullmatch(texts.get(_CLASS_SUFFIX, "")):
        texts[_CLASS_SUFFIX] = int(texts[_CLASS_SUFFIX])
    return texts | _json_fields(members.get(_JSON_SUFFIX))


def _json_fields(part: Part | None) -> dict[str, Any]:
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
