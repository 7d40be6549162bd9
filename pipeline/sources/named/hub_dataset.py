"""`hf-dataset:NAME[:CONFIG[:SPLIT]]` -> folders of Parquet files on the Hugging Face Hub.

The Hub keeps every public dataset as Parquet in its branch `refs/convert/parquet`, in folders
CONFIG/SPLIT. Files of a repository as they are have URLs of their own: hf://datasets/NAME/...
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pipeline.rows.errors import InputError
from pipeline.storage.files import filesystem, storage_errors
from pipeline.storage.walk import walk

__all__ = ["hub_folders", "is_hub_dataset"]

_PREFIX: Final = "hf-dataset:"
_NAME: Final = re.compile(r"[\w.-]+/[\w.-]+")
_FORM: Final = "hf-dataset:OWNER/NAME[:CONFIG[:SPLIT]]"
_PARTIAL: Final = "partial-"
"""Begins the names of splits of which the Hub has converted the first 5 GB alone."""


def is_hub_dataset(url: str) -> bool:
    return url.startswith(_PREFIX)


def hub_folders(url: str, storage_options: Mapping[str, Any]) -> list[str]:
    """The folders that the dataset's splits are in, as URLs that fsspec reads.

    Without a split all of them; without a configuration the only one, or the one named 'default'.

    Raises:
        InputError: if there is no such dataset, configuration or split; it lists what there is.
        StorageError: if the Hub cannot be asked.
    """
    name, config, split = _parts(url)
    base = f"hf://datasets/{name}@refs%2Fconvert%2Fparquet"
    splits = _splits(base, name, storage_options)
    chosen = _config(config, [c for c, _ in splits], url)
    there = [s for c, s in splits if c == chosen]
    wanted = there if split is None else [split]
    for each in wanted:
        _check_split(each, there, url)
    return [f"{base}/{chosen}/{each}" for each in wanted]


def _check_split(split: str, there: Sequence[str], url: str) -> None:
    whole = split.removeprefix(_PARTIAL)
    if split != whole or (split not in there and _PARTIAL + split in there):
        raise InputError(
            f"{url}: the Hub has only the first part of {whole!r} as Parquet; give its own files, "
            f"as in --input 'hf://datasets/{_parts(url)[0]}/**/*.tar'"
        )
    if split not in there:
        raise InputError(f"{url}: no split {split!r}; there are {', '.join(there)}")


def _parts(url: str) -> tuple[str, str | None, str | None]:
    name, *more = url.removeprefix(_PREFIX).split(":")
    if not _NAME.fullmatch(name) or len(more) > 2 or any(not m or "/" in m for m in more):
        raise InputError(f"{url}: wanted {_FORM}")
    config, split = [*more, None, None][:2]
    return name, config, split


def _splits(base: str, name: str, storage_options: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """Configuration and split of each folder that has Parquet files."""
    fs, path = filesystem(base, storage_options)
    with storage_errors("list", base):
        try:
            found = walk(fs, path)
        except FileNotFoundError as exc:
            raise InputError(
                f"{_PREFIX}{name}: the Hub has no such dataset as Parquet, or not for this token "
                f"(HF_TOKEN); its own files are at hf://datasets/{name}"
            ) from exc
    folders = (
        file[len(path) :].strip("/").split("/") for file in found if file.endswith(".parquet")
    )
    return sorted({(parts[0], parts[1]) for parts in folders if len(parts) == 3})


def _config(wanted: str | None, there: Iterable[str], url: str) -> str:
    names = list(dict.fromkeys(there))
    if wanted is None and (len(names) == 1 or "default" in names):
        return names[0] if len(names) == 1 else "default"
    if wanted in names:
        return str(wanted)
    told = "several configurations" if wanted is None else f"no configuration {wanted!r}"
    raise InputError(f"{url}: {told}; there are {', '.join(names) or 'none'}: {_FORM}")
