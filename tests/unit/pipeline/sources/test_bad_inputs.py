"""The corpus is what it claims to be, judged by Pillow and by the read stage."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, UnidentifiedImageError

from pipeline.rows.errors import ROW_ERROR_CODES
from pipeline.sources import ReadOptions, list_input
from tests.support.bad_images import encode, picture, png_with_header
from tests.support.bad_inputs import (
    CASES,
    OK,
    QUESTION,
    Case,
    pickle_bomb,
    write_image_folder,
    write_parquet,
    write_webdataset,
)
from tests.support.source_files import CAPTIONING, codes, read_rows

ASKING = ReadOptions(prompt_column="question")
# What only decoding or laying out the image can tell.
LATER = {
    "image_unidentified",
    "image_is_html",
    "image_is_svg",
    "image_is_text",
    "image_truncated",
    "image_corrupt",
    "image_too_many_pixels",
    "image_too_elongated",
}


def judge(data: bytes, monkeypatch: pytest.MonkeyPatch) -> str:
    """The row's end as Pillow's own exceptions tell it."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    if not data:
        return "image_empty"
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.width * image.height > 10**8:
                return "image_too_many_pixels"
            if max(image.size) > 1000 * min(image.size):
                return "image_too_elongated"
            image.load()
    except UnidentifiedImageError:
        return "image_unidentified"
    except OSError as exc:
        return "image_truncated" if "truncated" in str(exc) else "image_corrupt"
    return OK


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case_is_what_it_claims(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    is_other = case.expected.startswith("image_is_")  # To Pillow all of these are nothing.
    expected = "image_unidentified" if is_other else case.expected
    assert judge(case.data, monkeypatch) == expected


def test_names_are_unique_and_ends_are_known() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.expected for case in CASES} - {OK} <= set(ROW_ERROR_CODES)
    assert {case.expected for case in CASES} >= LATER


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("cmyk", "CMYK"),
        ("grey", "L"),
        ("sixteen_bit", "I;16"),
        ("palette_transparent", "P"),
        ("rgba", "RGBA"),
        ("grey_alpha", "LA"),
        ("one_bit", "1"),
    ],
)
def test_modes(name: str, mode: str) -> None:
    data = next(case.data for case in CASES if case.name == name)
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == mode


@pytest.mark.parametrize("name", ["animated_gif", "animated_webp"])
def test_animations_have_frames(name: str) -> None:
    data = next(case.data for case in CASES if case.name == name)
    with Image.open(io.BytesIO(data)) as image:
        assert image.n_frames == 2


def test_bytes_are_the_same_on_every_run() -> None:
    assert encode(picture(), "PNG") == next(c.data for c in CASES if c.name == "plain_png")
    assert len(png_with_header(60_000, 60_000)) < 100


def test_pickle_bomb_goes_off_when_unpickled(tmp_path: Path) -> None:
    pickle.loads(pickle_bomb(tmp_path / "boom"))
    assert (tmp_path / "boom").exists()


@pytest.mark.parametrize("questions", [False, True])
def test_webdataset_corpus(tmp_path: Path, questions: bool) -> None:
    expected = write_webdataset(tmp_path, questions=questions)
    rows = read_folder(tmp_path, ASKING if questions else CAPTIONING)
    check(rows, expected, QUESTION if questions else CAPTIONING.prompt)
    assert not (tmp_path / "unpickled").exists()


@pytest.mark.parametrize("questions", [False, True])
def test_parquet_corpus(tmp_path: Path, questions: bool) -> None:
    expected = write_parquet(tmp_path, questions=questions)
    options = (
        ReadOptions(prompt_column="question", id_column="id")
        if questions
        else ReadOptions(prompt=CAPTIONING.prompt, id_column="id")
    )
    check(read_folder(tmp_path, options), expected, QUESTION if questions else CAPTIONING.prompt)


def test_image_folder_corpus(tmp_path: Path) -> None:
    expected = write_image_folder(tmp_path)
    check(read_folder(tmp_path, CAPTIONING), expected, CAPTIONING.prompt)


def read_folder(folder: Path, options: ReadOptions) -> list[dict[str, Any]]:
    shards = list_input([str(folder)], storage_options={}).shards
    return [row for shard in shards for row in read_rows(shard, options)]


def check(rows: list[dict[str, Any]], expected: dict[str, str], prompt: str | None) -> None:
    """Every row ends as it must, as far as reading can tell, and good bytes arrive unchanged."""
    ends = {key: None if end in LATER | {OK} else end for key, end in expected.items()}
    assert codes(rows) == ends
    data = {case.name: case.data for case in CASES}
    for row in rows:
        name = row["key"].rpartition(".")[0] or row["key"]
        if row["error_code"] is None and name in data:
            assert row["image"] == data[name]
            assert row["prompts"] == [prompt]
