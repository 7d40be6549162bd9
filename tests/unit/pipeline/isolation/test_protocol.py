"""What a child may answer: sizes are checked before anything is taken over."""

from __future__ import annotations

import dataclasses

import pytest

from pipeline.isolation import CutOptions, CutSettings, DecodeLimits
from pipeline.isolation.protocol import (
    ANSWER,
    BROKEN,
    DECODED,
    PARTITIONED,
    REFUSED,
    AnswerHeader,
    BadAnswer,
    parse_notes,
    parse_refusal,
)
from tests.support.models import load_spec

SPEC = load_spec("embedded")
SIDE = SPEC.partition_size
REAL = CutSettings(
    limits=DecodeLimits(max_pixels=10**8, timeout_sec=30.0, max_mib=2048),
    geometry=SPEC.geometry,
)
FAST = dataclasses.replace(REAL, options=CutOptions(resize="fast"))
EACH = 3 * SIDE * SIDE


def header(kind: int, width: int, height: int, count: int, length: int) -> AnswerHeader:
    return AnswerHeader.parse(ANSWER.pack(kind, width, height, count, length, 0), REAL)


def test_answers_of_the_right_size_are_taken() -> None:
    assert header(PARTITIONED, 224, 112, 5, 5 * EACH).count == 5
    assert header(REFUSED, 0, 0, 0, 20).length == 20
    assert header(BROKEN, 0, 0, 0, 16 * 1024).kind == BROKEN
    assert parse_refusal(b"image_empty zero bytes").code == "image_empty"


@pytest.mark.parametrize(
    "fields",
    [
        (PARTITIONED, 224, 112, 5, 4 * EACH),
        (PARTITIONED, 224, 112, 6, 6 * EACH),  # the largest grid has four sub-images
        (PARTITIONED, 224, 112, 0, 0),
        (PARTITIONED, 0, 112, 5, 5 * EACH),
        (PARTITIONED, 10_001, 10_000, 5, 5 * EACH),
        (REFUSED, 0, 0, 0, 16 * 1024 + 1),
        (BROKEN, 0, 0, 0, 2**40),
        (3, 0, 0, 0, 0),
    ],
)
def test_answers_of_any_other_size_are_not(fields: tuple[int, int, int, int, int]) -> None:
    with pytest.raises(BadAnswer):
        header(*fields)


@pytest.mark.parametrize(("kind", "notes"), [(PARTITIONED, 257), (REFUSED, 1), (BROKEN, 1)])
def test_notes_are_short_and_on_images_alone(kind: int, notes: int) -> None:
    sizes = (224, 112, 5, 5 * EACH) if kind == PARTITIONED else (0, 0, 0, 20)
    most = 256 if kind == PARTITIONED else 0
    assert AnswerHeader.parse(ANSWER.pack(kind, *sizes, most), REAL).notes_length == most
    with pytest.raises(BadAnswer):
        AnswerHeader.parse(ANSWER.pack(kind, *sizes, notes), REAL)


def test_notes_are_those_there_are() -> None:
    assert parse_notes(b"") == ()
    assert parse_notes(b"end_missing,frame_12") == ("end_missing", "frame_12")
    for text in (b"x", b"end_missing,", b",", b"frame", b"\xff", b"frame_2\n"):
        with pytest.raises(BadAnswer):
            parse_notes(text)


def decoded(width: int, height: int, count: int, length: int) -> AnswerHeader:
    return AnswerHeader.parse(ANSWER.pack(DECODED, width, height, count, length, 0), FAST)


def test_pixels_are_taken_if_they_are_those_of_the_image() -> None:
    assert decoded(224, 112, 1, 3 * 224 * 112).decoded_size == (112, 224)
    assert decoded(224, 112, 8, 3 * 28 * 14).decoded_size == (14, 28)


@pytest.mark.parametrize(
    "fields",
    [
        (224, 112, 1, 3 * 224 * 112 - 1),
        (224, 112, 0, 3 * 224 * 112),
        (225, 112, 2, 3 * 112 * 56),
        (224, 113, 2, 3 * 112 * 56),
        (2, 2, 4, 0),
        (0, 112, 1, 0),
        (10_001, 10_000, 1, 3 * 10_001 * 10_000),
        (2000, 1, 1, 3 * 2000),  # on no grid
    ],
)
def test_pixels_are_not_taken_otherwise(fields: tuple[int, int, int, int]) -> None:
    with pytest.raises(BadAnswer):
        decoded(*fields)


def test_each_way_of_cutting_has_its_answer() -> None:
    with pytest.raises(BadAnswer):
        header(DECODED, 224, 112, 1, 3 * 224 * 112)
    with pytest.raises(BadAnswer):
        AnswerHeader.parse(ANSWER.pack(PARTITIONED, 224, 112, 1, EACH, 0), FAST)


def test_a_refusal_needs_a_code_of_ours() -> None:
    for text in (b"", b"image_bad", b"\xff\xfe x"):
        with pytest.raises(BadAnswer):
            parse_refusal(text)
