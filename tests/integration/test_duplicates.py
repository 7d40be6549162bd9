"""Images that were met before get the caption of the first: in other shards, and on other nights."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lab.demo import SAMPLES
from lab.evaluation.gallery import load_samples
from pipeline.rows.errors import EXIT_DONE
from pipeline.verify.command import main as verify
from tests.integration.job import Result, answer, caption
from tests.integration.test_resume import kill_after_parts

PICTURES = [sample.image for sample in load_samples(SAMPLES).values()]
NEAR = ("--near-duplicates", "4", "--rows-per-part", "4")
pytestmark = pytest.mark.usefixtures("cluster")


def write(path: Path, pictures: list[bytes], **columns: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"image": pa.array(pictures, pa.binary())} | columns)
    pq.write_table(table, path, row_group_size=4)


def squeezed(data: bytes) -> bytes:
    """The picture at three quarters of its size, as a poor JPEG."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    small = image.resize((image.width * 3 // 4, image.height * 3 // 4))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=60)
    return buffer.getvalue()


def test_copies_across_shards_and_nights_with_a_kill_between(tmp_path: Path) -> None:
    first, second = PICTURES[:8], PICTURES[8:14]
    write(tmp_path / "in" / "a.parquet", [*first, *first[:4]])
    write(tmp_path / "in" / "b.parquet", [b"broken", *map(squeezed, first), b"broken"])
    source, output = [str(tmp_path / "in")], tmp_path / "out"
    kill_after_parts(tmp_path / "in", output, 1, *NEAR)
    resumed = caption(source, output, *NEAR)
    check(resumed, images=22)
    assert 0 < resumed.report["duplicates"]["copied"] <= 12
    write(tmp_path / "in" / "c.parquet", [*second, first[0], squeezed(first[1]), second[0]])
    night = caption(source, output, *NEAR)
    check(night, images=31)
    assert night.report["images"] == 7  # six, and one that first has to be looked at
