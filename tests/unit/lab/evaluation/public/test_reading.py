"""Reading files of a benchmark: what is refused, what is held, what belongs together."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lab.evaluation.public.registry import BENCHMARKS
from pipeline.rows.errors import InputError
from tests.support.public_files import TEXTS, drawn, on_hub, write

TEXTVQA = BENCHMARKS["textvqa"]
TYPES = {"image_id": pa.string(), "question": pa.string(), "answers": TEXTS}
RED = drawn(250)
ROW = (on_hub(RED), "a", "what?", ["it"])


def test_a_file_without_its_columns_is_refused_before_any_is_read(tmp_path):
    good = write(tmp_path / "good.parquet", TYPES, [ROW])
    bad = tmp_path / "bad.parquet"
    pq.write_table(pa.table({"image_id": ["a"], "query": ["what?"]}), bad)
    with pytest.raises(InputError) as refused:
        TEXTVQA.reader([good, bad])
    assert str(refused.value) == (
        f"textvqa: {bad} lacks image, question, answers; it has image_id, query"
    )


def test_a_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "text.parquet").write_text("no Parquet")
    for name in ("text.parquet", "nothing.parquet"):
        with pytest.raises(InputError, match=rf"{name} cannot be read as Parquet"):
            TEXTVQA.reader([tmp_path / name])
    with pytest.raises(InputError, match="textvqa: no files to read"):
        TEXTVQA.reader([])


def test_a_damaged_file_is_an_error_not_an_end(tmp_path):
    path = write(tmp_path / "t.parquet", TYPES, [ROW])
    data = bytearray(path.read_bytes())
    # The pages lie behind the four bytes at the start; the footer stays whole.
    data[4:60] = bytes(56)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"t\.parquet cannot be read as Parquet"):
        list(TEXTVQA.reader([path]))


@pytest.mark.parametrize("answers", [None, [], [""] * 10, [None]])
def test_a_split_without_answers_is_refused(tmp_path, answers):
    path = write(tmp_path / "test.parquet", TYPES, [ROW, (on_hub(RED), "b", "who?", answers)])
    with pytest.raises(InputError, match=r"textvqa: .*test\.parquet, row 1: answers holds no"):
        list(TEXTVQA.reader([path]))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((on_hub(RED), "a", None, ["it"]), "question is null"),
        ((on_hub(RED), None, "what?", ["it"]), "image_id is null"),
    ],
)
def test_a_null_is_named_with_its_row(tmp_path, row, message):
    path = write(tmp_path / "t.parquet", TYPES, [ROW, ROW, row])
    with pytest.raises(InputError, match=rf"row 2: {message}"):
        list(TEXTVQA.reader([path]))


def test_an_image_goes_on_across_batches_groups_and_files(tmp_path):
    # 40 rows about one image, then 3 about another: more than a batch and a row group hold.
    rows = [ROW] * 40 + [(on_hub(drawn(3)), "b", "who?", ["him"])] * 3
    first = write(tmp_path / "1.parquet", TYPES, rows[:25], group=10)
    second = write(tmp_path / "2.parquet", TYPES, rows[25:], group=7)
    reading = TEXTVQA.reader([str(first), second])
    images = list(reading)
    assert [(image.image_id, len(image.questions)) for image in images] == [("a", 40), ("b", 3)]
    assert len({q.question_id for image in images for q in image.questions}) == 43
    assert reading.summary == "textvqa: 43 questions about 2 images"


def test_reading_again_gives_and_counts_the_same(tmp_path):
    reading = TEXTVQA.reader([write(tmp_path / "t.parquet", TYPES, [ROW, ROW])])
    assert list(reading) == list(reading)
    assert (reading.num_rows, reading.num_images, reading.num_questions) == (2, 1, 2)


def test_images_stored_as_plain_bytes_are_read_too(tmp_path):
    path = tmp_path / "plain.parquet"
    columns = {"image": [RED], "image_id": ["a"], "question": ["what?"], "answers": [["it"]]}
    pq.write_table(pa.table(columns), path)
    assert [image.data for image in TEXTVQA.reader([path])] == [RED]


def test_a_file_is_never_held_whole(tmp_path):
    path = _large_file(tmp_path / "large.parquet")
    file_bytes = path.stat().st_size
    assert file_bytes > 20e6
    before, most = pa.total_allocated_bytes(), 0
    for image in TEXTVQA.reader([path]):
        assert len(image.data) == 64_000
        most = max(most, pa.total_allocated_bytes() - before)
    # Row groups are a twentieth of the file; reader and decoder may hold some of one at once.
    assert 0 < most < file_bytes / 3


def _large_file(path: Path) -> Path:
    draw = random.Random(0)
    rows = [(on_hub(draw.randbytes(64_000)), str(n), "what?", ["it"]) for n in range(400)]
    return write(path, TYPES, rows, group=20)
