import io
from pathlib import Path

import pyarrow.parquet as pq
from PIL import Image

from lab.demo import SAMPLES as SHIPPED
from lab.rendering.benchmark import is_padded
from lab.rendering.geometry import CANVASES, best_canvas, content_size
from lab.rendering.picture import Picture
from lab.rendering.samples import bad_samples, make_samples, write_parquet


def test_samples_cover_grids_kinds_and_endings() -> None:
    samples = make_samples(20)
    assert samples == make_samples(20)
    assert len({sample.key for sample in samples}) == 20
    assert {sample.ending for sample in samples} == {"jpg", "png", "webp", "JPG"}
    sizes = [Image.open(io.BytesIO(sample.data)).size for sample in samples]
    seen = {(best_canvas(*size), content_size(*size) != best_canvas(*size)[::-1]) for size in sizes}
    assert seen == {(canvas, padded) for canvas in CANVASES for padded in (False, True)}
    kinds = [key for s in samples for key in ("form", "chart") if f'"{key}"' in str(s.truth)]
    assert set(kinds) == {"form", "chart"}
    assert all(sample.answer for sample in samples)


def test_bad_samples_have_no_truth() -> None:
    bad = bad_samples(10)
    assert [sample.truth for sample in bad] == [None] * 3
    assert [len(sample.data) > 100 for sample in bad] == [True, False, False]


def test_shipped_samples_are_what_the_renderer_makes() -> None:
    """Compared by text, since fonts and codecs may move a pixel between versions."""
    shipped = pq.read_table(SHIPPED / "parquet/samples-00.parquet").to_pylist()
    made = make_samples(64)[0::4]
    assert [row["image_id"] for row in shipped] == [sample.key for sample in made]
    assert [row["truth"] for row in shipped] == [sample.truth for sample in made]
    assert [row["answer"] for row in shipped] == [sample.answer for sample in made]


def test_parquet_rows_by_groups(tmp_path: Path) -> None:
    write_parquet(make_samples(10), tmp_path / "a.parquet")
    assert pq.ParquetFile(tmp_path / "a.parquet").num_row_groups == 2


def test_is_padded_by_hand() -> None:
    assert not is_padded(Picture(seed=0, split="test", width=672, height=672))
    assert is_padded(Picture(seed=0, split="test", width=600, height=672))
