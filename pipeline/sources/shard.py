"""What one read task reads (`Shard`) and how (`ReadOptions`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from pipeline.rows.errors import ConfigError
from pipeline.sources.carried.request import CarriedColumn
from pipeline.sources.templates.template import columns_of_template, is_template
from pipeline.storage.web.fetch_options import FetchOptions

__all__ = ["IMAGE_SUFFIXES", "MIB", "ReadOptions", "Shard", "ShardFormat", "TarKeys"]

MIB = 1024 * 1024
IMAGE_SUFFIXES: Final = frozenset(
    {
        *("jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "gif", "bmp", "dib", "tif", "tiff"),
        *("avif", "heic", "heif", "hif", "jp2", "j2k", "j2c", "jpf", "jpx"),
    }
)
_POSITIVE: Final = (
    *("max_carried_bytes", "max_image_bytes", "max_prompt_chars"),
    *("batch_rows", "batch_bytes"),
)
ShardFormat = Literal["parquet", "webdataset", "images", "arrow", "csv", "jsonl"]
TarKeys = Literal["first-dot", "last-dot"]


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One unit of reading: a file, or one bucket of the loose images of a directory."""

    url: str = field(repr=False)
    """fsspec URL or absolute path of the file; of the directory for loose images. It may carry
    credentials: log `redact_url(url)`."""

    name: str
    """Path below the input root, '/'-separated: the first half of every `image_id`. Folders of
    loose images end in '/', and the root is './'; in outputs of before neither, and it is '.'."""

    format: ShardFormat

    files: tuple[str, ...] = ()
    """Loose images only: the file names in this bucket of the directory."""

    bucket: str = ""
    """Loose images only: which bucket of how many, as '3/16'."""

    size_bytes: int | None = None

    signature: str = ""
    """Changes with the content: size and etag or modification time. Of loose images a JSON object
    with one for each file."""

    max_rows: int | None = None
    """Read only the first so many images (`--limit`)."""

    @property
    def ledger_id(self) -> str:
        """`name`, made distinct for the buckets of one directory."""
        return f"{self.name}[{self.bucket}]" if self.bucket else self.name

    @property
    def id_prefix(self) -> str:
        """What stands before the key in an `image_id`.

        Of folders, whose names end in a slash, the id is the file's path below the input root.
        """
        if not self.name.endswith("/"):
            return f"{self.name}#"
        return "" if self.name == "./" else self.name


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How rows are made of shards. One of `prompt`, `prompts` and `prompt_column` is set."""

    image_column: str = "image"
    """Of tables: a column of bytes, of paths or URLs, of structs of both, or of lists of these
    (`pipeline.sources.tables.image_column`)."""

    image_root: str | None = field(default=None, repr=False)
    """What paths in tables are relative to and lead no way out of; None: the table's folder."""

    fetch: FetchOptions = field(default_factory=FetchOptions)
    """Of URLs in tables."""

    prompt: str | None = None
    """The prompt of every image; it may be a template (`pipeline.sources.templates`)."""

    prompts: tuple[tuple[str, str], ...] = ()
    """Prompts of every image, each with its name."""

    max_prompt_chars: int = 8192
    """Of a prompt that is made of a template."""

    control_tokens: tuple[str, ...] = ()
    """Of the model: what values in templates may not bring in."""

    prompt_column: str | None = None
    """Where each image's prompt, or list of prompts, is found: a Parquet or Arrow column, or a
    field of a WebDataset sample's .json member ('txt': its .txt member)."""

    id_column: str | None = None
    """Parquet and Arrow: a column of unique scalars to use as key in place of the row ordinal."""

    tar_keys: TarKeys = "first-dot"
    """WebDataset: at which dot of its base name a member's name is split into key and suffix."""

    image_member: str | None = None
    """WebDataset: the suffix of the one image to take of each sample, as "left.jpg", or a pattern
    of it; None for a row for every image."""

    carried: tuple[CarriedColumn, ...] = ()
    """What goes along with each image: Parquet and Arrow columns, and of a WebDataset sample fields
    of its .json member, or its .txt and .cls members by these names."""

    max_carried_bytes: int = MIB
    """A carried value of more bytes is null."""

    max_image_bytes: int = 64 * MIB

    batch_rows: int = 64
    """A table is handed on when it has so many images,"""

    batch_bytes: int = 32 * MIB
    """or when its images, and what goes along with them, have so many bytes."""

    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Passed to fsspec, for example `{"endpoint_url": "http://127.0.0.1:9000"}`."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Columns whose values prompts are made of."""
        return tuple(sorted({n for text in self._texts for n in columns_of_template(text)}))

    @property
    def has_templates(self) -> bool:
        """Whether any prompt is a template, be it one that names no column."""
        return any(map(is_template, self._texts))

    @property
    def _texts(self) -> tuple[str, ...]:
        named = tuple(text for _, text in self.prompts)
        return named if self.prompt is None else (self.prompt, *named)

    @property
    def columns_along(self) -> tuple[str, ...]:
        """Columns to read besides image, prompt and id."""
        return tuple(dict.fromkeys((*(c.source for c in self.carried), *self.fields)))

    def __post_init__(self) -> None:
        if bool(self.prompts) + (self.prompt is not None) + (self.prompt_column is not None) != 1:
            raise ConfigError(
                f"exactly one of prompt and prompt_column must be set, got prompt={self.prompt!r} "
                f"and prompt_column={self.prompt_column!r}"
            )
        if self.prompt is not None and not self.prompt.strip():
            raise ConfigError("prompt is blank: set a prompt, or prompt_column")
        for name in (
            "max_carried_bytes",
            "max_image_bytes",
            "max_prompt_chars",
            "batch_rows",
            "batch_bytes",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}, allowed: 1 or more")
