"""What goes with the image of a sample: its prompt, and texts that travel along."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from pipeline.sources.carried.carried_values import Along, along_of_fields
from pipeline.sources.samples import (
    Failure,
    Prompt,
    Sample,
    constant_prompt,
    given_prompt,
    no_prompt,
)
from pipeline.sources.shard import MIB, ReadOptions
from pipeline.sources.tars.joining import WINDOW_BYTES, Joined, Part

__all__ = ["FIELD_SUFFIXES", "fields_of", "made_sample", "text_suffixes"]

_TEXT_SUFFIX: Final = "txt"
_JSON_SUFFIX: Final = "json"
_CLASS_SUFFIX: Final = "cls"
FIELD_SUFFIXES: Final = (_JSON_SUFFIX, _TEXT_SUFFIX, _CLASS_SUFFIX)
"""Kinds of the members that are texts."""
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,18}")


def made_sample(joined: Joined, options: ReadOptions) -> Sample:
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
    found = fields_of(texts)
    return along_of_fields(found, options.carried, options.fields, options.max_carried_bytes)


def fields_of(members: Mapping[str, Part]) -> dict[str, Any]:
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


def text_suffixes(options: ReadOptions) -> frozenset[str]:
    """Suffixes of the members besides the image that are needed."""
    along = set(options.columns_along)
    members = along & {_TEXT_SUFFIX, _CLASS_SUFFIX} | ({_JSON_SUFFIX} if along else set())
    return frozenset(members | ({_text_suffix(options)} - {""}))


def _text_suffix(options: ReadOptions) -> str:
    """Suffix of the member that holds the prompt, '' when none is needed."""
    if options.prompt_column is None:
        return ""
    return _TEXT_SUFFIX if options.prompt_column == _TEXT_SUFFIX else _JSON_SUFFIX
