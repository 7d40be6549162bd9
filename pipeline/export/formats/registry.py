"""The forms by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pipeline.export.formats.base import Format
from pipeline.export.formats.hugging_face import HuggingFaceDataset
from pipeline.export.formats.json_lines import JsonLines
from pipeline.export.formats.parquet_files import ParquetFiles
from pipeline.export.formats.tar_samples import TarSamples
from pipeline.export.formats.text_files import SideBySide, TextFiles

__all__ = ["FORMATS"]

FORMATS: Final[dict[str, Callable[[SideBySide], Format]]] = {
    "txt": TextFiles,
    "webdataset": lambda _: TarSamples(),
    "jsonl": lambda _: JsonLines(),
    "parquet": lambda _: ParquetFiles(),
    "hf-dataset": lambda _: HuggingFaceDataset(),
}
"""Each of what lies beside a .txt, which is of no concern to the others."""
