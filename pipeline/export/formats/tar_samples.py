"""WebDataset tars: for each image one sample of the image, a .txt and a .json."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator

from pipeline.export.formats.base import File, Item, Piece, image_suffix
from pipeline.export.formats.row_values import json_line
from pipeline.export.formats.text_files import text_of

__all__ = ["TarSamples"]


class TarSamples:
    """The .txt is as `TextFiles` writes it. The .json has the columns of the first caption, and
    `prompts` and `texts` of all."""

    needs_images = True

    def files(self, piece: Piece) -> Iterator[File]:
        if not piece.items:
            return  # The library takes an empty tar for a broken one.
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for item in piece.items:
                assert item.image is not None, "images were asked for"
                key = _key(item.name)
                _add(tar, f"{key}.{image_suffix(item.image)}", item.image)
                _add(tar, f"{key}.txt", text_of(item))
                _add(tar, f"{key}.json", _fields(item))
        yield f"captions-{piece.index:05}.tar", buffer.getvalue()

    def closing(self) -> Iterator[File]:
        yield from ()


def _key(name: str) -> str:
    """A sample's key ends at the first dot of its last part: no dot may be in there."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.replace(".", "%2E")


def _fields(item: Item) -> bytes:
    prompts = [row["prompt"] for row in item.rows]
    fields = item.shown[0] | {"prompts": prompts, "texts": item.texts}
    return json_line(fields).encode()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Without time and owner: the same samples make the same bytes."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
