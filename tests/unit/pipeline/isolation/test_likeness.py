"""Hashes of pictures: alike where they look alike, wherever they are computed."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from itertools import combinations

import imagehash
import numpy as np
import pytest
from PIL import Image

from hired_core.images.decode import decode_image
from lab.demo import SAMPLES
from lab.evaluation.gallery import load_samples
from pipeline.copies.bands import distance
from pipeline.isolation import CutOptions, DecodeLimits, IsolatedDecoder
from pipeline.isolation.likeness import perceptual_hash
from pipeline.isolation.protocol import CutSettings
from tests.support.bad_images import encode
from tests.support.models import load_spec

PICTURES = [sample.image for sample in load_samples(SAMPLES).values()][:12]
EXACT = CutSettings(
    limits=DecodeLimits(max_pixels=10**8, timeout_sec=30.0, max_mib=512),
    geometry=load_spec("embedded").geometry,
    phash=True,
)
WAYS = [
    EXACT,
    dataclasses.replace(EXACT, options=CutOptions(resize="fast", reduced_decode=True)),
]


def hash_of(image: Image.Image) -> int:
    found = perceptual_hash(image)
    assert found is not None
    return found


def test_the_bits_are_those_of_the_library() -> None:
    image = decode_image(PICTURES[0]).resize((100, 80))
    assert f"{hash_of(image) % 2**64:016x}" == str(imagehash.phash(image))


@pytest.mark.parametrize("data", PICTURES[:6])
def test_sizes_and_qualities_of_one_picture_are_near(data: bytes) -> None:
    image = decode_image(data)
    buffer = io.BytesIO()
    image.resize((image.width * 2 // 3, image.height * 2 // 3)).save(buffer, "JPEG", quality=40)
    poor = decode_image(buffer.getvalue())
    large = image.resize((image.width * 3, image.height * 3))
    assert distance(hash_of(image), hash_of(poor)) <= 6
    assert distance(hash_of(image), hash_of(large)) <= 6


def test_other_pictures_are_not() -> None:
    hashes = [hash_of(decode_image(data)) for data in PICTURES]
    assert min(distance(a, b) for a, b in combinations(hashes, 2)) > 8


@pytest.mark.parametrize("size", [(1, 1), (400, 2), (300, 300)])
def test_nothing_looks_like_nothing(size: tuple[int, int]) -> None:
    """All flat pictures would be one, whatever their colours."""
    assert perceptual_hash(Image.new("RGB", size, "red")) is None
    noise = np.random.default_rng(0).integers(100, 103, (size[1], size[0], 3), dtype=np.uint8)
    assert perceptual_hash(Image.fromarray(noise)) is None


@pytest.fixture(scope="module", params=WAYS, ids=["exact", "fast"])
def decoder(request: pytest.FixtureRequest) -> Iterator[IsolatedDecoder]:
    decoder = IsolatedDecoder(request.param)
    yield decoder
    decoder.close()


def test_the_child_tells_it(decoder: IsolatedDecoder) -> None:
    assert len(PICTURES) == 12
    for data in PICTURES[:3]:
        assert decoder.partition(data).phash == hash_of(decode_image(data))
    assert decoder.partition(encode(Image.new("RGB", (50, 50), "blue"), "PNG")).phash is None
    assert decoder.partition(PICTURES[0]).phash is not None


def test_nobody_is_told_who_did_not_ask() -> None:
    decoder = IsolatedDecoder(dataclasses.replace(EXACT, phash=False))
    assert decoder.partition(PICTURES[0]).phash is None
    decoder.close()
