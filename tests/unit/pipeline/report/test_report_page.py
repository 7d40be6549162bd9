"""The page of real and of odd outputs: what it says, and what it never lets through."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.job.commands import report
from pipeline.ledger.identity import Identity
from pipeline.parts.sink import LOCK, REPORT, REPORTS, Sink
from pipeline.quality.criteria import FLAGS
from pipeline.report.showing.advice import CODE_ADVICE, FLAG_ADVICE
from pipeline.rows.errors import ROW_ERROR_CODES
from tests.support.exports import Corpus, captioned, png
from tests.support.reported import add_part, caption, page_of, stats
from tests.support.source_files import tar_shard

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'></style>{{ 7*7 }}"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """12 images of a tar, a Parquet file and a folder; one is in quarantine."""
    return captioned(tmp_path_factory.mktemp("report"))


def test_captions_stand_beside_their_images(corpus: Corpus, tmp_path: Path) -> None:
    page = page_of(tmp_path, str(corpus.output), "--examples", "12")
    captions = corpus.captions()
    assert len(captions) == 11 and all(image_id in page.text for image_id in captions)
    pictures = [one["src"] or "" for one in page.all("img")]
    assert len(pictures) == 12  # Quarantined images are shown where they decode.
    assert all(uri.startswith("data:image/webp;base64,") for uri in pictures)
    assert "generation_failed" in page.text and "as told" in page.text
    assert CODE_ADVICE["generation_failed"] in page.text
    assert not re.search(r"(src|href)=.?https?:", page.html)


def test_the_page_is_the_same_for_the_same_seed(corpus: Corpus, tmp_path: Path) -> None:
    def ids(seed: str) -> list[str]:
        words = (str(corpus.output), "--examples", "3", "--no-images", "--seed", seed)
        return re.findall(r"(?:a.parquet#|b.tar#|photos/)[^ ]+", page_of(tmp_path, *words).text)

    assert ids("1") == ids("1")
    assert len({tuple(ids(str(seed))) for seed in range(5)}) > 1


def test_it_goes_on_without_the_images(corpus: Corpus, tmp_path: Path) -> None:
    gone = page_of(tmp_path, str(corpus.output), "--input-root", str(tmp_path / "nowhere"))
    assert list(gone.all("img")) == [] and "No image: " in gone.text and "a.parquet#0" in gone.text
    moved = tmp_path / "other"
    moved.mkdir()
    (moved / "b.tar").write_bytes((corpus.root / "b.tar").read_bytes())
    part = page_of(tmp_path, str(corpus.output), "--input-root", str(moved))
    assert len(list(part.all("img"))) == 4
    few = page_of(tmp_path, str(corpus.output), "--max-shards", "1")
    assert 0 < len(list(few.all("img"))) < 12 and "only 1 files were opened" in few.text


def test_another_image_in_its_place_is_not_shown(corpus: Corpus, tmp_path: Path) -> None:
    moved = tmp_path / "other"
    (moved / "photos").mkdir(parents=True)
    for path in (corpus.root / "photos").iterdir():
        (moved / "photos" / path.name).write_bytes((corpus.root / "photos/Cat.png").read_bytes())
    page = page_of(tmp_path, str(corpus.output), "--input-root", str(moved))
    assert len(list(page.all("img"))) == 1
    assert page.text.count("the input has another image in its place now") == 3


def test_data_is_text_and_nothing_else(tmp_path: Path) -> None:
    sink = Sink(url=str(tmp_path / HOSTILE.replace("/", "_")))
    odd = {"prompt": HOSTILE, "prompt_name": HOSTILE, HOSTILE: HOSTILE, "flags": [HOSTILE]}
    row = caption(HOSTILE, HOSTILE, **odd) | {"model": HOSTILE, "shard": HOSTILE}
    add_part(sink, "captions", [row, caption("\x1b[2J\u202e\x00", "control \x07 signs")])
    bad = {"image_id": HOSTILE, "shard": HOSTILE, "error_code": HOSTILE, "error_stage": HOSTILE}
    add_part(sink, "quarantine", [bad | {"error_detail": HOSTILE}])
    sink.put_json(REPORT, {"fingerprint_fields": {HOSTILE: [HOSTILE]}, "run_id": "r"})
    add_part(sink, "stats", [stats("generate"), stats("select")])
    page = page_of(tmp_path, sink.url)
    assert [tag for tag, _ in page.elements if tag in ("script", "img", "style")] == [
        "style",
        "script",
    ]
    assert page.text.count("<script>alert(1)</script>") > 10 and "{{ 7*7 }}" in page.text
    assert not any(sign in page.html for sign in "\x1b\x00\x07")
    assert not [name for _, attributes in page.elements for name in attributes if name == "onerror"]


def test_its_policy_lets_no_other_script_run(corpus: Corpus, tmp_path: Path) -> None:
    page = page_of(tmp_path, str(corpus.output), "--no-images")
    policies = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    assert len(policies) == 1 and "default-src 'none'" in (policies[0] or "")
    assert "script-src 'sha256-" in (policies[0] or "")


def test_an_output_that_has_just_begun(tmp_path: Path) -> None:
    sink = Sink(url=str(tmp_path / "out"))
    Identity(fingerprint="abc", fields={"model": "m"}, input_root="file/in").save(sink)
    sink.put_json(LOCK, {"run_id": "r"})
    page = page_of(tmp_path, sink.url)
    assert "A run holds this output" in page.text and "fingerprint abc" in page.text
    assert "rows 0" in page.text


def test_there_is_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report([str(tmp_path / "none"), "--html", str(tmp_path / "x.html")]) == 2
    assert "there are no results at" in capsys.readouterr().err
    assert not (tmp_path / "x.html").exists()
    assert report([str(tmp_path), "--html", f"{tmp_path}/folder/"]) == 2
    assert "html: " in capsys.readouterr().err  # Before anything is read.
    add_part(Sink(url=str(tmp_path / "out")), "captions", [caption(1)])
    for where, told in ((tmp_path, "is a folder; name a file in it"), ("no://a/b", "cannot open")):
        assert report([str(tmp_path / "out"), "--html", str(where)]) == 2
        assert re.search(f"^error: html: .*{told}", capsys.readouterr().err)
    assert report(["--html", "x.html"]) == 2
    assert report(["--compare", "a"]) == 2
    assert "compare: takes two outputs, got 1" in capsys.readouterr().err


def test_columns_of_other_versions(tmp_path: Path) -> None:
    """None of flags; a prompt's name, carried columns; texts that are no UTF-8."""
    sink = Sink(url=str(tmp_path / "out"))
    add_part(sink, "captions", [caption(1, "an old one")], name="part-x-1")
    old = tmp_path / "out/captions/part-x-1.parquet"
    pq.write_table(pq.read_table(old).drop_columns(["flags", "model"]), old)
    add_part(sink, "captions", [caption(5, "carries")], name="part-x-4")
    strange = tmp_path / "out/captions/part-x-4.parquet"
    table = pq.read_table(strange).drop_columns(["prompt_name", "duplicate_of"])
    table = table.append_column("prompt_name", pa.array([["a list"]]))
    pq.write_table(table.append_column("duplicate_of", pa.array([{"a": 1}])), strange)
    new = caption(2, "a new one", prompt_name="short", url="http://of/the/user", ranks=[1, 2])
    add_part(sink, "captions", [new, caption(3, flags=["loop"])], name="part-x-2")
    add_part(sink, "captions", [caption(4)], name="part-x-3")
    odd = tmp_path / "out/captions/part-x-3.parquet"
    table = pq.read_table(odd)
    for name in ("text", "key", "image_id", "prompt"):
        column = pa.array([b"odd \xff bytes"], pa.binary()).view(pa.string())
        table = table.set_column(table.column_names.index(name), name, column)
    pq.write_table(table, odd)
    page = page_of(tmp_path, sink.url)
    assert "carries" in page.text
    assert "an old one" in page.text and "1 are of a version without flags" in page.text
    assert "short" in page.text and "http://of/the/user" in page.text and "[1, 2]" in page.text
    assert FLAG_ADVICE["loop"] in page.text
    assert page.text.count("odd \ufffd bytes") == 3


def test_images_of_prompts_with_names_are_found(tmp_path: Path) -> None:
    root, sink = tmp_path / "in", Sink(url=str(tmp_path / "out"))
    root.mkdir()
    tar_shard(root / "a.tar", [("x.png", png(1))])
    prompts = {"short": "p", "long": "q"}
    Identity(fingerprint="f", fields={"prompt": prompts}, input_root=f"file{root}").save(sink)
    rows = [caption(f"x#{name}", prompt_name=name) | {"key": "x"} for name in prompts]
    add_part(sink, "captions", rows)
    bad = {"image_id": "a.tar#x#short", "shard": "a.tar", "key": "x", "prompt_name": "short"}
    add_part(sink, "quarantine", [bad | {"error_code": "caption_rejected"}])
    assert len(list(page_of(tmp_path, sink.url).all("img"))) == 3


def test_values_that_python_has_not_are_shown(tmp_path: Path) -> None:
    """A day past year 9999, a nanosecond, bytes that are no text in a list."""
    sink = Sink(url=str(tmp_path / "out"))
    add_part(sink, "captions", [caption(1), caption(2)])
    path = tmp_path / "out/captions/part-x-1.parquet"
    odd = pa.array([[b"\xff"], None], pa.list_(pa.binary())).cast(pa.list_(pa.binary()))
    strange = pa.ListArray.from_arrays(odd.offsets, odd.values.view(pa.string()))
    table = pq.read_table(path).append_column("day", pa.array([4_000_000, None], pa.date32()))
    table = table.append_column("at", pa.array([1, None], pa.timestamp("ns")))
    pq.write_table(table.append_column("names", strange), path)
    page = page_of(tmp_path, sink.url)
    assert "12921-" in page.text and "00:00:00.000000001" in page.text


def test_a_part_that_does_not_read_is_told(tmp_path: Path) -> None:
    sink = Sink(url=str(tmp_path / "out"))
    add_part(sink, "captions", [caption(1, "still here")])
    sink.put("captions/part-x-2.parquet", b"PAR1 and no more")
    page = page_of(tmp_path, sink.url)
    assert "still here" in page.text and "captions/part-x-2.parquet does not read" in page.text


def test_runs_below_an_output_come_with_it(tmp_path: Path) -> None:
    for name, model in (("out", "first"), ("out/runs/abc", "second")):
        row = caption(1) | {"model": model}
        add_part(Sink(url=str(tmp_path / name)), "captions", [row])
    page = page_of(tmp_path, str(tmp_path / "out"))
    assert "Captions of 2 outputs" in page.text
    assert "first" in page.text and "second" in page.text and "out/runs/abc" in page.text


def test_cost_of_each_run_is_told(tmp_path: Path) -> None:
    sink = Sink(url=str(tmp_path / "out"))
    costs = (("20261120T201500-aa", 0.5), ("20261121T201500-bb", 0.25))
    for number, (run, usd) in enumerate(costs):
        times = {"run_id": run, "started_at": 1e9 + 86400 * number}
        rows = [stats("select", **times), stats("generate", **times)]
        add_part(sink, "stats", rows, name=f"part-{run}-1")
        sink.put_json(f"{REPORTS}/{run}.json", {"run_id": run, "usd_per_1000_images": usd})
    add_part(sink, "captions", [caption(1)])
    page = page_of(tmp_path, sink.url)
    assert "0.5000" in page.text and "0.2500" in page.text
    notes = re.findall(r"<title>([^<]*per 1000 images)</title>", page.html)
    assert [note.partition(": ")[2] for note in notes] == [
        "USD 0.5000 per 1000 images",
        "USD 0.2500 per 1000 images",
    ]


def test_lines_without_a_page(corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    assert report([str(corpus.output)]) == 0
    told = capsys.readouterr().out
    assert "12 from 6 shards" in told
    assert "1 (generation_failed 1)" in told and "m, hired, 0.2, fingerprint ffff" in told


def test_every_code_and_flag_has_advice() -> None:
    assert ROW_ERROR_CODES.keys() <= CODE_ADVICE.keys()
    assert FLAGS.keys() <= FLAG_ADVICE.keys()
