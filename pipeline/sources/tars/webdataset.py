"""WebDataset shards: the members of a tar that share a key are one sample.

Members are read as bytes, and only those an allow-list of suffixes names: nothing is unpickled,
decoded or extracted.
"""

from __future__ import annotations

import contextlib
import itertools
import tarfile
from collections import Counter
from collections.abc import Generator
from dataclasses import replace
from typing import Any, Final

from pipeline.sources.paths.passed_over import HIDDEN, NO_ENDING, OTHER_IMAGES, ending_of
from pipeline.sources.samples import (
    Failure,
    Sample,
    broken_shard,
    oversize,
)
from pipeline.sources.shard import IMAGE_SUFFIXES, MIB, ReadOptions, Shard, TarKeys
from pipeline.sources.tars.joining import (
    Joiner,
    Part,
    is_image,
    kind_of,
)
from pipeline.sources.tars.sample_texts import (
    FIELD_SUFFIXES,
    fields_of,
    made_sample,
    text_suffixes,
)
from pipeline.sources.tars.tar_stream import DATA_ERRORS, open_tar
from pipeline.storage.files import open_input

__all__ = ["first_fields", "read_webdataset", "split_member"]

_MAX_TEXT_BYTES: Final = 1 * MIB
_MEMBERS_LOOKED_AT: Final = 4096


def read_webdataset(
    shard: Shard, options: ReadOptions, passed_over: Counter[str] | None = None
) -> Generator[Sample, None, None]:
    """Each image with the texts of its sample; after a break in the archive, a sample that tells.

    Images come in archive order, but for those that wait for their texts, and samples without an
    image, which come last.

    Args:
        passed_over: to count members by reason that are neither an image nor a text of one.

    Raises:
        StorageError: if the file cannot be opened or read.
    """
    texts = text_suffixes(options)
    joiner = Joiner(texts, options.image_member)
    failure: Failure | None = None
    wanted = IMAGE_SUFFIXES | texts
    with contextlib.closing(_parts(shard, options, wanted, passed_over)) as parts:
        for part in parts:
            if isinstance(part, Failure):
                failure = part
            else:
                yield from (made_sample(joined, options) for joined in joiner.add(part))
    yield from (made_sample(joined, options) for joined in joiner.end(broken=failure is not None))
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
    with contextlib.closing(_parts(shard, options, frozenset(FIELD_SUFFIXES))) as parts:
        for part in itertools.islice(parts, _MEMBERS_LOOKED_AT):
            if isinstance(part, Failure) or len(found) > num_samples:
                break
            if part.data is not None:
                found.setdefault(part.key, {})[kind_of(part.suffix)] = part
    return [fields_of(texts) for texts in itertools.islice(found.values(), num_samples)]


def _parts(
    shard: Shard,
    options: ReadOptions,
    wanted: frozenset[str],
    passed_over: Counter[str] | None = None,
) -> Generator[Part | Failure, None, None]:
    """The members that belong to samples; a failure as the last one if the archive is broken.

    Args:
        wanted: kinds of the members to read.
        passed_over: see `read_webdataset`.
    """
    passed = Counter[str]() if passed_over is None else passed_over
    code = "shard_corrupt"
    with open_input(shard.url, options.storage_options) as file:
        try:
            with open_tar(file) as tar:
                code = "shard_truncated"
                while (member := tar.next()) is not None:
                    # `tarfile` would keep every header of the shard.
                    tar.members.clear()  # type: ignore[attr-defined]  # Not in typeshed.
                    if (reason := _passed_over(member, options)) is not None:
                        passed[reason] += 1
                    if (part := _part(tar, member, options, wanted)) is not None:
                        yield part
        except DATA_ERRORS as exc:
            yield Failure(code, f"{type(exc).__name__}: {exc}")


def _passed_over(member: tarfile.TarInfo, options: ReadOptions) -> str | None:
    """Why it is neither an image to caption nor a text of a sample; None if it is one of them."""
    if member.isdir():
        return None
    split = split_member(member.name, options.tar_keys)
    if split is None:
        base = member.name.replace("\\", "/").rpartition("/")[2]
        return HIDDEN if base.startswith(".") else NO_ENDING
    kind = kind_of(split[1])
    if kind in IMAGE_SUFFIXES:
        return None if is_image(split[1], options.image_member) else OTHER_IMAGES
    return None if kind in FIELD_SUFFIXES else ending_of(f"x.{kind}")


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
