"""Each form, read back by a library that its users have."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from pathlib import Path

import datasets
import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image

from hired_core.images.opening import FORMATS as DECODED
from pipeline.export.formats.base import image_suffix
from pipeline.export.formats.registry import FORMATS
from pipeline.export.options import FormatName
from pipeline.job.commands import export
from pipeline.parts.sink import Sink
from pipeline.rows.schemas import CAPTIONS_SCHEMA
from tests.support.bad_images import heic
from tests.support.exports import Corpus, captioned, colour, png


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return captioned(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return captioned(tmp_path_factory.mktemp("asked"), questions=True)


def exported(corpus: Corpus, into: Path, form: str, *flags: str) -> list[str]:
    """Names of what is there afterwards, the journal apart."""
    assert export([str(corpus.output), "--to", form, "--into", str(into), *flags]) == 0
    paths = (path for path in into.rglob("*") if path.is_symlink() or path.is_file())
    names = sorted(path.relative_to(into).as_posix() for path in paths)
    return [name for name in names if name != "_export/export.json"]


def test_every_form_of_the_options_is_there() -> None:
    assert list(FORMATS) == list(FormatName.__args__)  # type: ignore[attr-defined]  # Of a Literal.


def test_a_text_file_lies_where_the_image_does(corpus: Corpus, tmp_path: Path) -> None:
    rows = corpus.captions()
    names = exported(corpus, tmp_path, "txt")
    assert len(names) == len(rows) == 11
    marked = [hashlib.blake2b(i.encode(), digest_size=6).hexdigest() for i in CATS]
    shards = [*(f"a.parquet/{i}.txt" for i in range(4)), *(f"b.tar/x/{i}.txt" for i in (4, 6, 7))]
    cats = [f"photos/Cat~{marked[0]}.txt", f"photos/cat~{marked[1]}.txt"]
    assert names == sorted([*shards, *cats, "photos/d.e.txt", "photos/ü %231%3F.txt"])
    assert (tmp_path / "b.tar/x/6.txt").read_text() == rows["b.tar#x/6"]["text"] + "\n"
    assert (tmp_path / names[-1]).read_text() == rows["photos/ü #1?.png"]["text"] + "\n"


CATS = ("photos/Cat.png", "photos/cat.PNG")


def test_images_are_copied_beside_their_texts(corpus: Corpus, tmp_path: Path) -> None:
    names = exported(corpus, tmp_path, "txt", "--side-by-side", "copy")
    assert len(names) == 22
    assert (tmp_path / "a.parquet/2.png").read_bytes() == png(2)
    assert (tmp_path / "b.tar/x/7.png").read_bytes() == png(7)
    assert (tmp_path / "photos/d.e.png").read_bytes() == png(10)
    for name in names[::2]:
        assert (
            (tmp_path / name)
            .with_suffix(".txt")
            .read_text()
            .endswith(f"saw {(tmp_path / name).read_bytes()!r}\n")
        )


def test_loose_images_are_linked(corpus: Corpus, tmp_path: Path) -> None:
    names = exported(
        corpus, tmp_path, "txt", "--side-by-side", "link", "--where", "shard = 'photos/'"
    )
    links = [tmp_path / name for name in names if not name.endswith(".txt")]
    assert len(links) == 4 and all(link.is_symlink() for link in links)
    assert (tmp_path / "photos/d.e.png").resolve() == corpus.root / "photos/d.e.png"


def test_images_in_their_own_folder_stay_what_they_are(corpus: Corpus) -> None:
    """Texts beside the images where these are: a link would stand for its own target."""
    flags = ("--side-by-side", "link", "--where", "shard = 'photos/'")
    before = (corpus.root / "photos/d.e.png").read_bytes()
    exported(corpus, corpus.root, "txt", *flags)
    assert not (corpus.root / "photos/d.e.png").is_symlink()
    assert (corpus.root / "photos/d.e.png").read_bytes() == before
    assert (corpus.root / "photos/d.e.txt").is_file()


def test_what_is_no_file_cannot_be_linked(
    corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--to", "txt", "--into", str(tmp_path), "--side-by-side", "link"]
    assert export([str(corpus.output), *flags]) == 2
    assert "a.parquet#0 is no file of its own" in capsys.readouterr().err


def test_several_captions_of_an_image_are_lines_of_its_file(asked: Corpus, tmp_path: Path) -> None:
    rows = asked.captions()
    assert len(rows) == 8
    assert exported(asked, tmp_path, "txt") == [f"a.parquet/{i}.txt" for i in range(4)]
    lines = (tmp_path / "a.parquet/1.txt").read_text().splitlines()
    assert lines == [rows[f"a.parquet#1#q{i}"]["text"] for i in range(2)]


def test_webdataset_reads_the_tars(corpus: Corpus, tmp_path: Path) -> None:
    names = exported(corpus, tmp_path, "webdataset", "--rows-per-file", "4")
    assert names == [f"captions-0000{i}.tar" for i in range(3)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        urls = [str(tmp_path / name) for name in names]
        samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode("pil"))
    rows = corpus.captions()
    assert len(samples) == 11
    for sample in samples:
        row = rows[sample["json"]["image_id"]]
        assert sample["txt"] == row["text"] + "\n"
        assert sample["json"] == row | {"prompts": [row["prompt"]], "texts": [row["text"]]}
    pixels = {s["json"]["image_id"]: s["png"].getpixel((0, 0)) for s in samples}
    assert (pixels["b.tar#x/6"], pixels["photos/d.e.png"]) == (colour(6), colour(10))


def test_a_sample_has_all_captions_of_its_image(asked: Corpus, tmp_path: Path) -> None:
    (name,) = exported(asked, tmp_path, "webdataset")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        samples = list(webdataset.WebDataset(str(tmp_path / name), shardshuffle=False).decode())
    assert [sample["json"]["prompts"] for sample in samples] == [
        [f"what {i}?", f"who {i}?"] for i in range(4)
    ]
    assert [len(sample["txt"].splitlines()) for sample in samples] == [2] * 4


def test_datasets_reads_the_folder(corpus: Corpus, tmp_path: Path) -> None:
    names = exported(corpus, tmp_path / "set", "hf-dataset", "--rows-per-file", "6")
    assert names == ["README.md", "data/train-00000.parquet", "data/train-00001.parquet"]
    cache = str(tmp_path / "cache")
    found = datasets.load_dataset(str(tmp_path / "set"), cache_dir=cache, split="train")
    assert isinstance(found.features["image"], datasets.Image)
    rows = corpus.captions()
    assert found["text"][:] == [rows[image_id]["text"] for image_id in found["image_id"]]
    assert isinstance(found[5]["image"], Image.Image)
    assert found[5]["image"].getpixel((0, 0)) == colour(6)
    assert found[5]["image_id"] == "b.tar#x/6"
    files = {"train": str(tmp_path / "set/data/*.parquet")}
    again = datasets.load_dataset("parquet", data_files=files, cache_dir=cache, split="train")
    assert isinstance(again.features["image"], datasets.Image)


def test_datasets_reads_what_carries_maps(tmp_path: Path) -> None:
    corpus = captioned(tmp_path)
    sink = Sink(url=str(corpus.output))
    path = sink.parts("captions")[0]
    table, kind = sink.read_part(path), pa.map_(pa.string(), pa.list_(pa.int8()))
    values = pa.array([[("é", [1, 2])], *[None] * (table.num_rows - 1)], kind)
    sink.write(path, table.append_column("scores", values), sink.metadata(path))
    exported(corpus, tmp_path / "set", "hf-dataset")
    cache = str(tmp_path / "cache")
    found = datasets.load_dataset(str(tmp_path / "set"), cache_dir=cache, split="train")
    assert isinstance(found.features["image"], datasets.Image)
    texts = dict(zip(found["image_id"], found["scores"], strict=True))
    assert texts.pop(table["image_id"][0].as_py()) == '[["é", [1, 2]]]'
    assert set(texts.values()) == {None}


def test_pandas_and_duckdb_read_parquet_and_json(corpus: Corpus, tmp_path: Path) -> None:
    rows = corpus.captions()
    names = exported(corpus, tmp_path / "p", "parquet", "--rows-per-file", "5")
    assert names == [f"captions-0000{i}.parquet" for i in range(3)]
    assert pq.read_schema(tmp_path / "p" / names[0]).equals(CAPTIONS_SCHEMA)
    frame = pd.read_parquet(tmp_path / "p")
    assert dict(zip(frame["image_id"], frame["text"], strict=True)) == {
        image_id: row["text"] for image_id, row in rows.items()
    }
    asked = f"select image_id from '{tmp_path}/p/*.parquet' where shard = 'b.tar'"
    assert sorted(duckdb.sql(asked).fetchall()) == [(f"b.tar#x/{i}",) for i in (4, 6, 7)]
    (name,) = exported(corpus, tmp_path / "j", "jsonl")
    lines = pd.read_json(tmp_path / "j" / name, lines=True)
    assert sorted(lines["text"]) == sorted(frame["text"])
    with (tmp_path / "j" / name).open() as file:
        assert {row["image_id"]: row for row in map(json.loads, file)} == rows


@pytest.mark.parametrize("form", list(FORMATS))
def test_nothing_at_all_reads_as_no_row(corpus: Corpus, tmp_path: Path, form: str) -> None:
    """Of a night on which nothing was new, say."""
    names = exported(corpus, tmp_path / form, form, "--where", "run_id = 'none'")
    if form == "parquet":
        assert pd.read_parquet(tmp_path / form).columns.tolist() == CAPTIONS_SCHEMA.names
        asked = f"select count(*), count(text) from '{tmp_path}/{form}/*.parquet'"
        assert duckdb.sql(asked).fetchall() == [(0, 0)]
    elif form == "hf-dataset":
        cache = str(tmp_path / "cache")
        with pytest.raises(ValueError, match="no data"):
            datasets.load_dataset(str(tmp_path / form), cache_dir=cache, split="train")
        assert pq.read_table(tmp_path / form / "data").column_names[:2] == ["image", "image_id"]
    elif form == "jsonl":
        assert (tmp_path / form / "captions-00000.jsonl").read_bytes() == b""
    else:
        assert names == []


def encoded(form: str) -> bytes:
    buffer = io.BytesIO()
    if form == "HEIF":
        return heic(Image.new("RGB", (64, 64)))
    Image.new("RGB", (2, 2)).save(buffer, form)
    return buffer.getvalue()


def test_endings_suit_the_bytes() -> None:
    endings = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp"}
    endings |= {"TIFF": "tif", "AVIF": "avif", "JPEG2000": "jp2", "HEIF": "heic"}
    assert {form: image_suffix(encoded(form)) for form in DECODED} == endings
    assert image_suffix(b"") == image_suffix(b"RIFFxxxxWAVE") == "bin"
