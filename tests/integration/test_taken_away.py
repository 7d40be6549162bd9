"""All that captions are made with and taken away by, in one job over mixed input.

Two prompts, carried columns, a template, a schema, flags and near duplicates; then every export,
read back by the libraries that users have, in the lines that docs/export.md prints.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import duckdb
import pandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image

from lab.demo import SAMPLES
from lab.evaluation.gallery import load_samples
from pipeline.job.commands import export
from pipeline.rows.errors import EXIT_DONE
from pipeline.verify.command import main as verify
from tests.integration.job import Result, caption
from tests.integration.test_duplicates import squeezed
from tests.integration.test_resume import kill_after_parts
from tests.support.docs import ROOT, code_blocks

BLOCKS = [block.text for block in code_blocks((ROOT / "docs/export.md").read_text())]
PICTURES = [sample.image for sample in load_samples(SAMPLES).values()]
FORM = {
    "type": "object",
    "properties": {
        "what": {"type": "string", "maxLength": 12},
        "count": {"type": "integer", "minimum": 0, "maximum": 9},
    },
    "required": ["what", "count"],
}
PROMPTS = ("short=What is it?", 'long=The alt text is: {{ alt or "none" }}. What is it?')
NAMES = {"short", "long"}
IDS = ("a.parquet#0", "a.parquet#1", "a.parquet#2", "b.tar#p", "b.tar#q", "loose/d.png")
BAD = "a.parquet#3"
NEAR, SAME = "a.parquet#2", "b.tar#q"
"""Like a.parquet#0 at another size; the bytes of a.parquet#1."""

pytestmark = pytest.mark.usefixtures("cluster")


def png(data: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(data)).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()


def write_input(folder: Path) -> None:
    """Four rows of Parquet, one of them damaged, two samples of WebDataset, one loose image."""
    (folder / "loose").mkdir(parents=True)
    (folder / "loose" / "d.png").write_bytes(png(PICTURES[3]))
    images = [PICTURES[0], PICTURES[1], squeezed(PICTURES[0]), b"<html>"]
    alts = ["left", "right", "left", None]
    columns = {"image": images, "url": [f"u{i}" for i in range(4)], "alt": alts}
    pq.write_table(pa.table(columns | {"seen": [1, 2, 3, 4]}), folder / "a.parquet")
    with tarfile.open(folder / "b.tar", "w") as tar:
        for key, data, alt in (("p", PICTURES[2], "up"), ("q", PICTURES[1], "right")):
            for name, content in ((f"{key}.png", data), (f"{key}.json", _json(key, alt))):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def _json(key: str, alt: str) -> bytes:
    return json.dumps({"url": f"tar-{key}", "alt": alt, "seen": 7}).encode()


def flags(form: Path) -> list[str]:
    asked = [argument for prompt in PROMPTS for argument in ("--prompt", prompt)]
    return [
        *(*asked, "--carry", "url, alt, se*", "--schema", str(form), "--near-duplicates", "4"),
        *("--min-words", "9", "--max-new-tokens", "60", "--max-error-rate", "0.2"),
        *("--rows-per-part", "3"),
    ]


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory, cluster: None) -> Path:
    """Of a run that was killed after its first part, and of the next."""
    folder = tmp_path_factory.mktemp("taken")
    write_input(folder / "in")
    (folder / "form.json").write_text(json.dumps(FORM))
    result, asked = folder / "out", flags(folder / "form.json")
    kill_after_parts(folder / "in", result, 1, *asked)
    check(caption([str(folder / "in")], result, *asked))
    assert verify([str(result)]) == EXIT_DONE
    return result


def check(done: Result) -> None:
    assert done.exit_code == EXIT_DONE
    rows = {row["image_id"]: row for row in done.captions}
    assert len(rows) == len(done.captions)
    assert rows.keys() == {f"{image}#{name}" for image in IDS for name in NAMES}
    assert {r["image_id"] for r in done.quarantine} == {f"{BAD}#{name}" for name in NAMES}
    assert {(r["url"], r["seen"]) for r in done.quarantine} == {("u3", 4)}
    for row in rows.values():
        value = json.loads(row["text"])
        assert (row["what"], row["count"]) == (value["what"], value["count"])
        assert row["prompt_name"] == row["image_id"].rpartition("#")[2]
        assert "short" in row["flags"]
    assert rows[f"{SAME}#long"]["prompt"] == "The alt text is: right. What is it?"
    assert rows["loose/d.png#long"]["prompt"] == "The alt text is: none. What is it?"
    assert (rows[f"{SAME}#short"]["url"], rows[f"{SAME}#short"]["seen"]) == ("tar-q", 7)
    for name in NAMES:
        pairs = (
            {f"a.parquet#0#{name}", f"{NEAR}#{name}"},
            {f"a.parquet#1#{name}", f"{SAME}#{name}"},
        )
        for pair in pairs:
            firsts = {rows[i]["duplicate_of"] for i in pair} - {None}
            assert firsts < pair and len({rows[i]["text"] for i in pair}) == 1
            assert len({(rows[i]["what"], rows[i]["count"]) for i in pair}) == 1


def printed(block: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a block of docs/export.md prints, run beside the output that it calls captions."""
    monkeypatch.chdir(folder)
    with contextlib.redirect_stdout(io.StringIO()) as screen:
        exec(compile(block, "export.md", "exec"), {})
    return screen.getvalue()


@pytest.fixture
def captions(output: Path, tmp_path: Path) -> Path:
    """A folder in which the output is called captions, as in the docs."""
    (tmp_path / "captions").symlink_to(output)
    return tmp_path


def block_with(word: str) -> str:
    (found,) = (block for block in BLOCKS if f"import {word}" in block)
    return found


def texts_of(output: Path) -> dict[str, str]:
    found = duckdb.sql(f"select image_id, text from '{output}/captions/*.parquet'").fetchall()
    return dict(found)


def test_a_webdataset(captions: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert export([str(output), "--to", "webdataset"]) == EXIT_DONE
    told = printed(block_with("glob, webdataset"), captions, monkeypatch)
    tars = [str(path) for path in sorted((output / "exports/webdataset").glob("*.tar"))]
    samples = list(webdataset.WebDataset(tars, shardshuffle=False).decode("pil"))
    assert ast.literal_eval(told) == [sample["txt"] for sample in samples]
    assert len(samples) == len(IDS)
    expected = texts_of(output)
    for sample in samples:
        rows: list[dict[str, Any]] = sample["json"] if isinstance(sample["json"], list) else []
        assert rows or sample["json"]
        assert any(isinstance(value, Image.Image) for value in sample.values())
        assert any(text in sample["txt"] for text in expected.values())


def test_texts_beside_images(output: Path) -> None:
    into = output.parent / "training"
    argv = [str(output), "--to", "txt", "--side-by-side", "copy", "--into", str(into)]
    assert export(argv) == EXIT_DONE
    found = {path.relative_to(into).as_posix() for path in into.rglob("*") if path.is_file()}
    stems = {name.rsplit(".", 1)[0] for name in found if name.endswith(".txt")}
    assert len(stems) == len(IDS)
    for stem in stems:
        assert [n for n in found if n.startswith(f"{stem}.") and not n.endswith(".txt")]


def test_a_hugging_face_dataset(
    output: Path, captions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert export([str(output), "--to", "hf-dataset", "--where", "count >= 0"]) == EXIT_DONE
    told = printed(block_with("load_dataset"), captions, monkeypatch)
    assert "PIL" in told


def test_tables(output: Path, captions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    argv = [str(output), "--to", "parquet", "--prompts-as", "columns", "--into"]
    assert export([*argv, str(captions / "wide")]) == EXIT_DONE
    wide = pandas.read_parquet(captions / "wide")
    assert len(wide) == len(IDS)
    expected = texts_of(output)
    for _, row in wide.iterrows():
        for name in NAMES:
            text = row[f"text_{name}"]
            assert text == expected[f"{row['image_id']}#{name}"]
            assert row[f"count_{name}"] == json.loads(text)["count"]
    assert export([str(output), "--to", "parquet"]) == EXIT_DONE
    rows = ast.literal_eval(printed(block_with("duckdb"), captions, monkeypatch))
    assert dict(rows) == expected
    assert "image_id" in printed(block_with("pandas"), captions, monkeypatch)
