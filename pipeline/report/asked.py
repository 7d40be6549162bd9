"""What was asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hired_core.errors import SettingError, require
from pipeline.settings.config import InputConfig

__all__ = ["ReportOptions"]


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Report"""

    output: list[str] = field(default_factory=list, repr=False)  # URLs may carry secrets.
    """Folders or URL prefixes that were a job's --output, one or more. They are read and not
    changed. What --new-run put below one, at runs/FINGERPRINT, comes with it."""
    html: str | None = field(default=None, repr=False)
    """File or URL to write the page to: one file, which needs no network. Default: no page, but a
    few lines are printed."""
    compare: list[str] = field(default_factory=list, repr=False)
    """Two outputs side by side, with the words that differ. On the images that both have
    captioned."""
    examples: int = 12
    """Captions that are shown at random, and pairs of --compare. Of each flag and each error code
    a third as many."""
    seed: int = 0
    """Another seed shows other examples. The same one the same, while the output stays as it
    is."""
    images: bool = True
    """Show the images themselves, read again from where the job found them."""
    max_shards: int = 16
    """Files of an output that are opened for images. A tar or Parquet file is read from its
    beginning; each folder of loose images counts as one."""
    input_root: str | None = field(default=None, repr=False)
    """Where the images are, if they have moved. What names in image_id are relative to. Default:
    where the job found them."""
    max_image_bytes: int = InputConfig.max_image_bytes
    """Larger encoded images are not read. As it was for the job."""
    storage_options: dict[str, Any] = field(default_factory=dict, repr=False)
    """Arguments for the fsspec filesystem. Credentials belong in the environment."""

    def __post_init__(self) -> None:
        if not self.output and not self.compare:
            raise SettingError("output: give one or more, or two with --compare")
        if self.compare and len(self.compare) != 2:
            raise SettingError(f"compare: takes two outputs, got {len(self.compare)}")
        blank = any(not url.strip() for url in [*self.output, *self.compare])
        require(not blank, "output", "", "folders or URLs")
        require(self.html is None or bool(self.html.strip()), "html", self.html, "a file or URL")
        require(1 <= self.examples <= 100, "examples", self.examples, "1 to 100")
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        require(self.max_shards >= 0, "max_shards", self.max_shards, "0 or more")
        require(self.max_image_bytes > 0, "max_image_bytes", self.max_image_bytes, "1 or more")

    @property
    def outputs(self) -> list[str]:
        """All that are to be read, each once."""
        return list(dict.fromkeys([*self.output, *self.compare]))

    @property
    def few(self) -> int:
        """Examples of one flag or code."""
        return max(1, self.examples // 3)
