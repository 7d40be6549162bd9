"""Decoding in a child: the same results, and an image costs its row whatever it does."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hired_core.images.decode import ImageError
from hired_core.images.fast_partition import partition_pixels
from pipeline.isolation import CutOptions, CutSettings, DecodeLimits, IsolatedDecoder
from pipeline.isolation.cut import cut
from pipeline.isolation.decoder import IMAGES_PER_CHILD
from tests.support import poison
from tests.support.bad_images import CASES, GOOD, Case, encode, heic, picture
from tests.support.models import load_spec
from tests.support.odd_pictures import ODD, PICTURE, Odd

SPEC = load_spec("embedded")
SIDE = SPEC.partition_size
REAL = CutSettings(
    limits=DecodeLimits(max_pixels=10**8, timeout_sec=30.0, max_mib=2048),
    geometry=SPEC.geometry,
)
FAST = dataclasses.replace(REAL, options=CutOptions(resize="fast"))
REDUCED = [
    dataclasses.replace(REAL, options=CutOptions(resize=resize, reduced_decode=True))
    for resize in ("exact", "fast")
]
POISONED = dataclasses.replace(
    REAL,
    limits=DecodeLimits(max_pixels=10**8, timeout_sec=60.0, max_mib=128),
    function=poison.FUNCTION,
)


@pytest.fixture(scope="module")
def real() -> Iterator[IsolatedDecoder]:
    decoder = IsolatedDecoder(REAL)
    yield decoder
    decoder.close()


@pytest.fixture(scope="module")
def fast() -> Iterator[IsolatedDecoder]:
    decoder = IsolatedDecoder(FAST)
    yield decoder
    decoder.close()


@pytest.fixture
def decoder() -> Iterator[IsolatedDecoder]:
    """One that poison has an effect on."""
    decoder = IsolatedDecoder(POISONED)
    yield decoder
    decoder.close()


def pid_of(decoder: IsolatedDecoder) -> int:
    assert decoder._child is not None
    return decoder._child.pid


def refusal(decoder: IsolatedDecoder, data: bytes) -> tuple[str, str]:
    with pytest.raises(ImageError) as caught:
        decoder.partition(data)
    return caught.value.code, str(caught.value)


def is_good(decoder: IsolatedDecoder, data: bytes = GOOD) -> bool:
    (height, width), partitions, notes, _ = cut(data, REAL)
    found = decoder.partition(data)
    assert found.num_pieces == len(partitions)
    assert found.notes == notes
    return (found.height, found.width, found.pixels) == (height, width, partitions.tobytes())


@pytest.mark.parametrize("case", [c for c in CASES if c.data], ids=lambda case: case.name)
def test_the_child_finds_what_this_process_finds(real: IsolatedDecoder, case: Case) -> None:
    try:
        cut(case.data, REAL)
    except ImageError as exc:
        assert refusal(real, case.data) == (exc.code, str(exc))
    else:
        assert is_good(real, case.data)


@pytest.mark.parametrize("case", [c for c in CASES if c.data], ids=lambda case: case.name)
def test_cutting_on_this_side_finds_the_same(fast: IsolatedDecoder, case: Case) -> None:
    try:
        size, pixels, *_ = cut(case.data, FAST)
    except ImageError as exc:
        with pytest.raises(ImageError) as caught:
            cut(case.data, REAL)
        assert (caught.value.code, str(caught.value)) == (exc.code, str(exc))
        assert refusal(fast, case.data) == (exc.code, str(exc))
    else:
        expected = partition_pixels(pixels.copy(), REAL.geometry)
        found = fast.partition(case.data)
        assert (found.height, found.width) == size == pixels.shape[:2]
        assert found.num_pieces == len(expected)
        assert found.pixels == expected.tobytes()


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.name)
def test_odd_pictures_and_their_notes(
    real: IsolatedDecoder, fast: IsolatedDecoder, odd: Odd
) -> None:
    assert is_good(real, odd.data)
    assert real.partition(odd.data).notes == fast.partition(odd.data).notes == odd.notes


@pytest.mark.parametrize("name", ["avif", "heic", "jp2"])
def test_every_decoder_works_within_its_memory(name: str) -> None:
    """Loaded before the limit is set, and without threads that would take address space."""
    little = dataclasses.replace(REAL.limits, max_mib=96)
    decoder = IsolatedDecoder(dataclasses.replace(REAL, limits=little))
    large = PICTURE.resize((960, 640))
    made = {"avif": encode(large, "AVIF"), "heic": heic(large), "jp2": encode(large, "JPEG2000")}
    assert is_good(decoder, made[name])
    first = pid_of(decoder)
    assert is_good(decoder, made[name]) and pid_of(decoder) == first
    decoder.close()


def test_truncated_images_are_accepted_where_that_is_asked_for() -> None:
    settings = dataclasses.replace(
        REAL, limits=dataclasses.replace(REAL.limits, truncated="accept")
    )
    data = encode(PICTURE.resize((480, 320)), "PNG")
    decoder = IsolatedDecoder(settings)
    found = decoder.partition(data[: len(data) // 2])
    decoder.close()
    assert found.notes == ("truncated",)
    assert found.width == 480 and 0 < found.height < 320


@pytest.mark.parametrize("settings", REDUCED, ids=["exact", "fast"])
def test_a_reduced_image_counts_as_the_whole(settings: CutSettings) -> None:
    """900 x 1200: an eighth of it would not do, a quarter does, whichever way up."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for data, size in [
        (encode(picture(size=(1200, 900)), "JPEG"), (900, 1200)),
        (encode(picture(size=(1200, 900)), "JPEG", exif=exif), (1200, 900)),
    ]:
        decoder = IsolatedDecoder(settings)
        found = decoder.partition(data)
        decoder.close()
        whole = cut(data, REAL).pixels
        assert (found.height, found.width) == size
        assert found.num_pieces == len(whole)
        pixels = np.frombuffer(found.pixels, np.uint8).reshape(whole.shape).astype(int)
        assert 0 < np.abs(pixels - whole).mean() < 3


def test_memory_for_a_large_image_is_given_back(fast: IsolatedDecoder) -> None:
    """Mapped by both sides, and by nothing else once one image is cut."""
    fast.partition(encode(Image.new("RGB", (1000, 1000), "red"), "PNG"))
    assert 2 * 2**20 < shared_resident_bytes(fast) < 4 * 2**20
    large = fast.partition(encode(Image.new("RGB", (6000, 4000), "red"), "PNG"))
    assert large.pixels[: SIDE * SIDE] == b"\xff" * SIDE * SIDE
    assert shared_resident_bytes(fast) == 0


def shared_resident_bytes(decoder: IsolatedDecoder) -> int:
    """Of the memory for pixels, in the child."""
    lines = Path(f"/proc/{pid_of(decoder)}/smaps").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if "memfd:partitions" in line)
    resident = next(line for line in lines[start:] if line.startswith("Rss:"))
    return int(resident.split()[1]) * 1024


def test_one_child_does_them_all(real: IsolatedDecoder) -> None:
    assert is_good(real)
    first = pid_of(real)
    assert is_good(real, encode(picture(size=(500, 300)), "JPEG"))
    refusal(real, b"no image")
    assert is_good(real)
    assert pid_of(real) == first


def test_an_image_larger_than_any_socket_buffer(real: IsolatedDecoder) -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (2000, 2000, 3), dtype=np.uint8))
    data = encode(noise, "BMP")
    assert len(data) > 10_000_000
    assert is_good(real, data)


def test_a_child_that_has_done_its_share_is_replaced(decoder: IsolatedDecoder) -> None:
    assert is_good(decoder)
    first = pid_of(decoder)
    decoder._left = 1
    assert is_good(decoder)
    assert pid_of(decoder) == first
    assert is_good(decoder)
    assert pid_of(decoder) != first
    assert decoder._left == IMAGES_PER_CHILD - 1


@pytest.mark.parametrize(
    ("mark", "code", "detail"),
    [
        (poison.SEGFAULT, "image_kills_decoder", "SIGSEGV"),
        (poison.MEMORY, "image_too_much_memory", "MemoryError"),
        (poison.NONSENSE, "image_kills_decoder", "nonsense"),
        (poison.NOTES, "image_kills_decoder", "notes that are none"),
    ],
)
def test_poison_costs_its_own_image(
    decoder: IsolatedDecoder, mark: bytes, code: str, detail: str
) -> None:
    check_poison(decoder, mark, code, detail)


def test_an_image_that_never_ends_costs_its_own_image() -> None:
    hasty = dataclasses.replace(POISONED.limits, timeout_sec=2.0)
    decoder = IsolatedDecoder(dataclasses.replace(POISONED, limits=hasty))
    check_poison(decoder, poison.HANG, "image_timeout", "no answer for 2 s")
    decoder.close()


def check_poison(decoder: IsolatedDecoder, mark: bytes, code: str, detail: str) -> None:
    assert is_good(decoder)
    before = pid_of(decoder)
    found = refusal(decoder, GOOD + mark)
    assert found[0] == code
    assert detail in found[1]
    assert is_good(decoder)
    assert pid_of(decoder) != before
    assert not Path(f"/proc/{before}").exists()


def test_an_image_whose_child_died_of_something_else_is_good(
    decoder: IsolatedDecoder, tmp_path: Path
) -> None:
    once = GOOD + poison.ONCE + os.fsencode(tmp_path / "died")
    found = decoder.partition(once)
    assert (tmp_path / "died").exists()
    assert found == decoder.partition(GOOD)


def test_a_child_that_dies_between_images_costs_the_next_no_try(
    decoder: IsolatedDecoder, tmp_path: Path
) -> None:
    assert is_good(decoder)
    assert decoder._child is not None
    process = decoder._child._process
    process.send_signal(signal.SIGKILL)
    process.wait()
    decoder.partition(GOOD + poison.ONCE + os.fsencode(tmp_path / "died"))
    assert (tmp_path / "died").exists()


def test_a_real_image_that_needs_more_memory_than_it_may() -> None:
    few = dataclasses.replace(REAL.limits, max_mib=64)
    decoder = IsolatedDecoder(dataclasses.replace(REAL, limits=few))
    large = encode(Image.new("RGB", (6000, 6000), "red"), "PNG")  # 144 MB as Pillow holds it
    assert refusal(decoder, large)[0] == "image_too_much_memory"
    assert is_good(decoder)
    decoder.close()


def test_an_interrupted_image_does_not_answer_for_the_next(decoder: IsolatedDecoder) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    assert is_good(decoder)
    previous = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            decoder.partition(encode(picture(size=(500, 300)), "PNG") + poison.HANG)
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert is_good(decoder)


def test_code_at_fault_is_no_fault_of_the_image(decoder: IsolatedDecoder) -> None:
    with pytest.raises(RuntimeError, match="AssertionError: a bug"):
        decoder.partition(GOOD + poison.BUG)
    assert is_good(decoder)


def test_a_child_that_does_not_start_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    decoder = IsolatedDecoder(dataclasses.replace(REAL, function="no.such.module:cut"))
    with pytest.raises(RuntimeError, match="does not start: exit code 1"):
        decoder.partition(GOOD)
    assert "No module named 'no'" in capfd.readouterr().err


def test_the_child_has_no_credentials_and_few_means(
    decoder: IsolatedDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    _, told = refusal(decoder, GOOD + poison.LIMITS)
    assert "core 0 files 64 " in told
    assert "PYTHONPATH" in told
    assert "AWS" not in told


PARENT = """
import sys
from tests.unit.pipeline.isolation.test_isolation import POISONED, IsolatedDecoder, GOOD, pid_of
from tests.support import poison
decoder = IsolatedDecoder(POISONED)
decoder.partition(GOOD)
print(pid_of(decoder), flush=True)
decoder.partition(GOOD + poison.HANG) if sys.argv[1] == "busy" else sys.stdin.read()
"""


@pytest.mark.parametrize("state", ["busy", "idle"])
def test_a_child_does_not_outlive_its_parent(state: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, state],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        if state == "busy":
            before = cpu_ticks(child)
            wait_until(lambda: cpu_ticks(child) > before + 5)
        parent.kill()
    wait_until(lambda: not Path(f"/proc/{child}").exists())


def cpu_ticks(pid: int) -> int:
    """User time of a process so far."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])


def wait_until(condition: Callable[[], bool], timeout_sec: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_sec
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
