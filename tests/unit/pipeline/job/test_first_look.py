"""What is printed when a run is done: captions, and Python that reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.job.first_look import first_look
from pipeline.parts.sink import Sink
from pipeline.rows.row import to_table
from pipeline.rows.schemas import CAPTIONS_SCHEMA


def stored(sink: Sink, run_id: str, number: int, texts: dict[str, str]) -> None:
    rows = [{"image_id": image_id, "text": text} for image_id, text in texts.items()]
    path = f"captions/part-{run_id}-{number:016}.parquet"
    sink.write(path, to_table(rows, CAPTIONS_SCHEMA), {})


def test_three_captions_of_the_run_and_lines_that_read_all(tmp_path: Path) -> None:
    sink = Sink(url=str(tmp_path / "it's"))
    stored(sink, "0", 0, {"a#0": "of another run"})
    stored(sink, "1", 0, {"b#0": "two\nlines \x1b[31m", "b#1": "long " * 100})
    stored(sink, "1", 1, {"b#2": "third", "b#3": "fourth"})
    lines = first_look(sink, "1").splitlines()
    at = next(n for n, line in enumerate(lines) if line.strip() == "for example")
    examples = [line.strip() for line in lines[at + 1 : at + 4]]
    assert examples[0] == "b#0: two lines  [31m"
    assert examples[1].startswith("b#1: long long") and examples[1].endswith("...")
    assert examples[2] == "b#2: third"
    assert max(map(len, lines)) < 250
    at = next(n for n, line in enumerate(lines) if line.strip() == "read them by")
    *said, shown = [line.strip() for line in lines[at + 1 :]]
    names: dict[str, Any] = {}
    exec("\n".join(said), names)
    table = eval(shown, names)
    assert sorted(table["image_id"]) == ["a#0", "b#0", "b#1", "b#2", "b#3"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://bucket/out/", "captions = ds.dataset('s3://bucket/out/captions')"),
        ("memory://out", "fs, path = fsspec.core.url_to_fs('memory://out/captions')"),
    ],
)
def test_urls_are_opened_by_who_can(monkeypatch: pytest.MonkeyPatch, url: str, said: str) -> None:
    rows = [{"image_id": "a#0", "text": "one"}]
    monkeypatch.setattr(Sink, "parts", lambda *_: ["captions/part-1-0.parquet"])
    monkeypatch.setattr(Sink, "read_part", lambda *_: to_table(rows, CAPTIONS_SCHEMA))
    assert said in first_look(Sink(url=url), "1")


def test_nothing_is_said_of_a_run_without_captions(tmp_path: Path) -> None:
    sink = Sink(url=str(tmp_path))
    stored(sink, "0", 0, {"a#0": "of another run"})
    assert first_look(sink, "1") == ""
