"""Images, archives and checkpoints made to hurt; hostile Parquet and Arrow have their own tests."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import struct
import tarfile
import tracemalloc
import zlib
from pathlib import Path

import pytest
from PIL import Image

from hired_core.images.decode import ImageError, decode_image
from hired_core.language.prompts import PromptError
from pipeline.sources import ReadOptions, Shard
from tests.support.models import load_prompt_template, load_spec
from tests.support.source_files import codes, read_rows, tar_shard

MIB = 1024**2


def png_with(*chunks: tuple[bytes, bytes]) -> bytes:
    """A small PNG with `chunks` after its header."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, "PNG")
    data, header_end = buffer.getvalue(), 8 + 25
    added = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    return data[:header_end] + added + data[header_end:]


ZIPPED = zlib.compress(bytes(256 * MIB), 9)
BELOW_THE_LIMIT = zlib.compress(bytes(MIB - 1), 9)


@pytest.mark.parametrize(
    "chunks",
    [
        [(b"iCCP", b"x\0\0" + ZIPPED)],
        [(b"zTXt", b"x\0\0" + ZIPPED)],
        [(b"iTXt", b"x\0\1\0\0\0" + ZIPPED)],
        [(b"zTXt", b"x\0\0" + BELOW_THE_LIMIT)] * 100,
        [(b"zTXt", b"Raw profile type exif\0\0" + ZIPPED[:60_000])],
        [(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + ZIPPED[:60_000])] * 2,
        [(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + ZIPPED)],
    ],
    ids=["iCCP", "zTXt", "iTXt", "many", "exif", "xmp", "large xmp"],
)
def test_compressed_texts_of_a_png_are_not_unpacked(chunks: list[tuple[bytes, bytes]]) -> None:
    data = png_with(*chunks)
    decode_image(data)
    tracemalloc.start()
    try:
        assert decode_image(data).getpixel((4, 4)) == (255, 0, 0)
        assert tracemalloc.get_traced_memory()[1] < len(data) + MIB
    finally:
        tracemalloc.stop()


def test_a_small_tiff_of_many_pixels_is_refused_by_its_header() -> None:
    buffer = io.BytesIO()
    Image.new("1", (11_000, 11_000)).save(buffer, "TIFF", compression="group4")
    assert len(buffer.getvalue()) < MIB
    with pytest.raises(ImageError) as caught:
        decode_image(buffer.getvalue())
    assert caught.value.code == "image_too_many_pixels"


def test_what_a_gzip_unpacks_to_is_skipped_in_pieces(tmp_path: Path) -> None:
    """80 MiB in a file of 0.1 MiB: never held, and the rows after it are read."""
    path = tmp_path / "a.tar.gz"
    with (
        gzip.open(path, "wb", compresslevel=9) as packed,
        tarfile.open(fileobj=packed, mode="w|") as tar,
    ):
        member = tarfile.TarInfo("bomb.jpg")
        member.size = 80 * MIB
        tar.addfile(member, io.BytesIO(bytes(member.size)))
        good = tarfile.TarInfo("good.jpg")
        good.size = 3
        tar.addfile(good, io.BytesIO(b"abc"))
    assert path.stat().st_size < MIB
    tracemalloc.start()
    try:
        rows = read_rows(Shard(url=str(path), name="a.tar.gz", format="webdataset"))
        assert tracemalloc.get_traced_memory()[1] < 32 * MIB
    finally:
        tracemalloc.stop()
    assert codes(rows) == {"a.tar.gz#bomb": "image_too_many_bytes", "a.tar.gz#good": None}


@pytest.mark.parametrize(
    "text", [b"[" * 900_000, b'{"a":' * 150_000, b'{"question": ' + b"9" * 900_000 + b"}"]
)
def test_json_that_goes_deep_or_long_is_a_bad_row(tmp_path: Path, text: bytes) -> None:
    shard = tar_shard(tmp_path / "a.tar", [("x.jpg", b"abc"), ("x.json", text)])
    rows = read_rows(shard, ReadOptions(prompt_column="question"))
    assert codes(rows) == {"a.tar#x": "prompt_missing"}


@pytest.fixture
def checkpoint(small_checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_checkpoint, tmp_path / "checkpoint"))


def test_code_beside_a_checkpoint_is_not_run(checkpoint: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    (checkpoint / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass Evil: pass\n")
    names = {name: "evil.Evil" for name in ("AutoConfig", "AutoModel", "AutoProcessor")}
    tokenizers = {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}
    for name, maps in (("config.json", names), ("tokenizer_config.json", tokenizers)):
        content = json.loads((checkpoint / name).read_text())
        (checkpoint / name).write_text(json.dumps(content | {"auto_map": maps}))
    load_prompt_template(load_spec(str(checkpoint)))
    assert not ran.exists()


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ range(10000000) | list }}",
        "{{ nothing.at.all }}",
        "{% broken",
    ],
)
def test_a_template_that_leaves_the_sandbox_is_one_line(checkpoint: Path, template: str) -> None:
    (checkpoint / "chat_template.jinja").write_text(template)
    with pytest.raises(PromptError, match="the checkpoint's chat template fails"):
        load_prompt_template(load_spec(str(checkpoint))).render("Hi?")
