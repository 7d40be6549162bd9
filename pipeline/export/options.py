"""What was asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from hired_core.errors import SettingError, require
from pipeline.export.formats.text_files import SideBySide
from pipeline.settings.config import InputConfig

__all__ = ["ExportOptions", "FormatName", "PromptsAs"]

PromptsAs = Literal["rows", "columns"]
FormatName = Literal["txt", "webdataset", "jsonl", "parquet", "hf-dataset"]


_HUB_NAME: Final = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_NOT_BLANK: Final = {
    "into": "a folder or URL",
    "input_root": "a folder or URL",
    "where": "a condition",
}


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """Export"""

    output: str = field(repr=False)  # URLs and options may carry secrets: never shown.
    """Folder or URL prefix that was a job's --output. It is read and not changed."""
    to: FormatName
    """The form: txt, webdataset, jsonl, parquet or hf-dataset. 'txt': one file an image, named like
    it. 'webdataset': tars of images with .txt and .json. 'jsonl', 'parquet': one row a caption.
    'hf-dataset': Parquet with images in it, for Hugging Face's load_dataset."""
    into: str | None = field(default=None, repr=False)
    """Folder or URL to write to. Default: exports/FORM below --output."""
    where: str | None = None
    """Take only captions of which this holds. An SQL condition over the columns of captions/, as
    DuckDB reads it, e.g. "finish_reason = 'stop' and output_tokens > 5"."""
    side_by_side: SideBySide = "no"
    """What lies beside each .txt. Nothing, a copy of its image, or a link to it. Links need loose
    images, and both ends on this machine's disk."""
    prompts_as: PromptsAs = "rows"
    """Where prompts have names, one row a caption or one an image. 'columns': each image has a
    column for each prompt, text_NAME and others. Of all forms but txt."""
    rows_per_file: int = 10_000
    """Captions of one file. Fewer, where images and carried values have 256 MiB before that."""
    input_root: str | None = field(default=None, repr=False)
    """Where the images are, if they have moved. What names in image_id are relative to. Default:
    where the job found them."""
    max_image_bytes: int = InputConfig.max_image_bytes
    """Larger encoded images are not read. As it was for the job."""
    push_to_hub: str | None = None
    """Send the dataset to the Hugging Face Hub as USER/NAME. Of --to hf-dataset into a folder of
    this machine; the token is HF_TOKEN or that of `hf auth login`. After a failure the same command
    goes on."""
    private: bool = False
    """Make the dataset on the Hub private, if it is made now."""
    storage_options: dict[str, Any] = field(default_factory=dict, repr=False)
    """Arguments for the fsspec filesystem. Credentials belong in the environment."""

    def __post_init__(self) -> None:
        require(bool(self.output.strip()), "output", self.output, "a folder or URL")
        # Blank ones come of shell variables that are not set: the default is not what was meant.
        for key, allowed in _NOT_BLANK.items():
            value = getattr(self, key)
            require(value is None or bool(value.strip()), key, value, allowed)
        require(self.rows_per_file > 0, "rows_per_file", self.rows_per_file, "1 or more")
        require(self.max_image_bytes > 0, "max_image_bytes", self.max_image_bytes, "1 or more")
        if self.side_by_side != "no" and self.to != "txt":
            raise SettingError(f"side_by_side: of --to txt only, not of {self.to}")
        if self.prompts_as == "columns" and self.to == "txt":
            raise SettingError("prompts_as: a .txt has no columns; choose another --to, or rows")
        self._check_hub()

    def _check_hub(self) -> None:
        name = self.push_to_hub
        if name is None:
            if self.private:
                raise SettingError("private: of --push-to-hub only")
            return
        if self.to != "hf-dataset":
            raise SettingError(f"push_to_hub: of --to hf-dataset only, not of {self.to}")
        require(bool(_HUB_NAME.fullmatch(name)), "push_to_hub", name, "USER/NAME")

    @property
    def destination(self) -> str:
        return self.into or f"{self.output.rstrip('/')}/exports/{self.to}"
