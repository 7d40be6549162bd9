"""Images of examples, read again from the job's input and made small.

Their bytes are untrusted, those of quarantined rows the more so: they are decoded in a child
process, under the limits that the job has.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from PIL import Image

from hired_core.geometry.square import Square
from hired_core.images.decode import ImageError
from pipeline.export.groups import Group, image_of
from pipeline.export.originals import Originals
from pipeline.isolation.decoder import IsolatedDecoder
from pipeline.isolation.protocol import CutSettings, PartitionedImage
from pipeline.report.asked import ReportOptions
from pipeline.report.reading.subject import Subject
from pipeline.report.showing.thumbnail import fitted
from pipeline.rows.errors import JobError
from pipeline.rows.redact import redact_text
from pipeline.rows.row import Row
from pipeline.settings.config import InputConfig
from pipeline.sources import ReadOptions
from pipeline.sources.discovery import format_of

__all__ = ["Picture", "Pictures", "image_id_of"]

_SIDE: Final = 360
_PAGE_BYTES: Final = 8 * 1024**2


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What is shown of an image.

    Attributes:
        uri: of its small copy; empty where `why` says why there is none.
        width, height: of the small copy; `full` is the (width, height) of the image itself.
    """

    uri: str = ""
    width: int = 0
    height: int = 0
    full: tuple[int, int] = (0, 0)
    why: str = ""


def image_id_of(row: Row) -> str:
    """The id of the image that a row of captions or of quarantine is of."""
    name = row.get("prompt_name")
    return image_of(str(row.get("image_id") or ""), name if isinstance(name, str) else None)


@dataclass
class Pictures:
    """Small copies for one page, no more bytes than `_PAGE_BYTES` all together."""

    options: ReportOptions
    bytes_left: int = _PAGE_BYTES
    notes: list[str] = field(default_factory=list)

    def of(self, subject: Subject, rows: Iterable[Row]) -> dict[str, Picture]:
        """By the image's id (`image_id_of`), for the rows whose image could be looked for."""
        wanted = {image_id_of(row): row for row in rows}
        if not self.options.images:
            return {image_id: Picture(why="images were not asked for") for image_id in wanted}
        try:
            originals = self._originals(subject)
        except JobError as exc:
            return {image_id: Picture(why=redact_text(str(exc))) for image_id in wanted}
        found: dict[str, Picture] = {}
        with closing(IsolatedDecoder(_SETTINGS)) as decoder:
            for index, (group, mine) in enumerate(_by_group(subject, wanted)):
                if index >= self.options.max_shards:
                    why = f"only {self.options.max_shards} files were opened (--max-shards)"
                    found |= {image_id: Picture(why=why) for image_id in mine}
                else:
                    found |= self._in_group(originals, group, mine, decoder)
        return found

    def _originals(self, subject: Subject) -> Originals:
        if subject.identity is None:
            raise JobError("the output does not say where its images were")
        columns = subject.fields
        options = ReadOptions(
            prompt="-",  # Asked of nothing.
            image_column=columns.get("image_column") or "image",
            id_column=columns.get("id_column"),
            image_root=columns.get("image_root"),
            tar_keys=columns.get("tar_keys") or ReadOptions.tar_keys,
            image_member=columns.get("image_member"),
            max_image_bytes=self.options.max_image_bytes,
            storage_options=self.options.storage_options,
        )
        return Originals(subject.identity, self.options.input_root, options)

    def _in_group(
        self, originals: Originals, group: Group, mine: Mapping[str, Row], decoder: IsolatedDecoder
    ) -> dict[str, Picture]:
        found: dict[str, Picture] = {}
        try:
            keys = [str(row["key"]) for row in mine.values() if row.get("key")]
            for row in originals.rows(group, keys):
                image_id = str(row["image_id"])
                if image_id in mine and image_id not in found:
                    found[image_id] = self._picture(row, mine[image_id], decoder)
                if len(found) == len(mine):
                    break
            why = "it is not in the input any more"
        except JobError as exc:
            why = redact_text(str(exc))
        return {image_id: Picture(why=why) for image_id in mine} | found

    def _picture(self, there: Row, row: Row, decoder: IsolatedDecoder) -> Picture:
        data = there["image"]
        if not data:
            return Picture(why="there are no bytes of it")
        digest = row.get("sha256")
        if digest and hashlib.sha256(data).hexdigest() != digest:
            return Picture(why="the input has another image in its place now")
        try:
            return self._bounded(small_copy(decoder.partition(data)))
        except ImageError as exc:
            return Picture(why=f"it does not decode ({exc.code})")

    def _bounded(self, picture: Picture) -> Picture:
        if len(picture.uri) > self.bytes_left:
            return Picture(full=picture.full, why="the page has no room for more images")
        self.bytes_left -= len(picture.uri)
        return picture


_LIMITS: Final = InputConfig(input=["-"]).decode_limits
_SETTINGS: Final = CutSettings(
    limits=_LIMITS,
    geometry=Square(partition_size=_SIDE, patch_size=1),
    function="pipeline.report.showing.thumbnail:shrink",
)


def small_copy(image: PartitionedImage) -> Picture:
    """As a WebP of some kilobytes, which every browser shows."""
    height, width = fitted((image.height, image.width), _SIDE)
    pixels = np.frombuffer(image.pixels, np.uint8).reshape(3, _SIDE, _SIDE)[:, :height, :width]
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).save(
        buffer, "WEBP", quality=75
    )
    uri = f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return Picture(uri=uri, width=width, height=height, full=(image.width, image.height))


def _by_group(
    subject: Subject, wanted: Mapping[str, Row]
) -> Iterator[tuple[Group, dict[str, Row]]]:
    """Shards with many of the rows first."""
    folders = subject.folders()
    by_shard: dict[str, dict[str, Row]] = defaultdict(dict)
    for image_id, row in wanted.items():
        by_shard[str(row["shard"])][image_id] = row
    for name, mine in sorted(by_shard.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        is_folder = name in folders or format_of(name) is None
        yield Group(name=name, is_folder=is_folder, paths=()), mine
