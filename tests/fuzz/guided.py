"""Coverage-guided fuzzing: `python -m tests.fuzz.guided image CORPUS -max_total_time=1800`.

Targets: `image` (decode and cut), `tar`, `parquet`, `arrow` (read a shard). Everything after the
target goes to libFuzzer; a crash, a hang (-timeout) or too much memory (-rss_limit_mb) is written
to a file that replays as `python -m tests.fuzz.guided image FILE`. Needs atheris, which is no
dependency of the project: it instruments Python code only, so Pillow's parsers but not its codecs.
"""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["PIL", "pi_heif", "hired_core", "pipeline.sources", "tarfile"]
):
    import PIL.AvifImagePlugin
    import PIL.BmpImagePlugin
    import PIL.GifImagePlugin
    import PIL.Jpeg2KImagePlugin
    import PIL.JpegImagePlugin
    import PIL.PngImagePlugin
    import PIL.TiffImagePlugin
    import PIL.WebPImagePlugin  # noqa: F401

    from hired_core.geometry.canvas import LayoutError
    from hired_core.images.decode import ImageError, decode_image
    from hired_core.images.partition import partition_image
    from pipeline.sources import ReadOptions, Shard, read_shard

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from tests.fuzz.seeds import image_seeds
from tests.support.geometry import anyres

PINPOINTS = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))
MAX_PIXELS = 4_000_000
OPTIONS = ReadOptions(prompt="Describe.", max_image_bytes=1_000_000, id_column="id")


def image(data: bytes) -> None:
    """Anything but an `ImageError` is a finding."""
    try:
        decoded = decode_image(data, max_pixels=MAX_PIXELS)
        partition_image(decoded, anyres(PINPOINTS, 336))
    except (ImageError, LayoutError):
        pass


def shard(kind: str) -> Callable[[bytes], None]:
    """A reader of that kind; it must end with one marker that counts what came before."""

    def read(data: bytes) -> None:
        url = f"memory://fuzz/shard.{kind}"
        fsspec.filesystem("memory").pipe_file(url, data)
        ids: list[str] = []
        counted: list[int] = []
        source = Shard(url=url, name=f"shard.{kind}", format=_FORMATS[kind])  # type: ignore[arg-type]
        for table in read_shard(source, OPTIONS):
            for row in table.to_pylist():
                if row["shard_rows"] is not None:
                    counted.append(row["shard_rows"])
                else:
                    ids += row["row_ids"]
        assert counted == [len(ids)], f"{len(ids)} rows, markers {counted}"
        assert len(set(ids)) == len(ids), "an id occurs twice"

    return read


_FORMATS = {"tar": "webdataset", "parquet": "parquet", "arrow": "arrow"}


def shard_seeds(kind: str) -> list[bytes]:
    pictures = image_seeds()[:4]
    buffer = io.BytesIO()
    table = pa.table({"id": ["a", "b", "c", "d"], "image": pa.array(pictures, pa.binary())})
    if kind == "tar":
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for index, data in enumerate(pictures):
                member = tarfile.TarInfo(f"{index}.jpg")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    elif kind == "parquet":
        pq.write_table(table, buffer, row_group_size=2)
    else:
        with pa.ipc.new_stream(buffer, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    return [buffer.getvalue()]


def main() -> None:
    target, *arguments = sys.argv[1:]
    function = image if target == "image" else shard(target)
    seeds = image_seeds() if target == "image" else shard_seeds(target)
    for folder in (Path(name) for name in arguments if not name.startswith("-")):
        if folder.is_dir():
            for index, data in enumerate(seeds):
                (folder / f"seed-{index:03}").write_bytes(data)
    atheris.Setup([sys.argv[0], *arguments], function)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
