"""The chaos runs' accounting sees what it is there to see."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.chaos.accounting import copies_wrong, in_vain, problems
from tests.chaos.corpus import Corpus
from tests.chaos.lost_work import LostWork, lost_work
from tests.chaos.stand_in import Answered
from tests.chaos.storage import Folder

CORPUS = Corpus(url="", ends={"a#0": "ok", "a#1": "ok", "b#0": "image_empty"})
TEXTS = {"a#0": "zero", "a#1": "one"}


@pytest.fixture
def output(tmp_path: Path) -> Folder:
    """As it should be."""
    captions(tmp_path, "part-1", {"a#0": "zero"}, run_id="1")
    captions(tmp_path, "part-2", {"a#1": "one"}, run_id="2")
    quarantine(tmp_path, {"b#0": "image_empty"})
    return Folder(url=str(tmp_path))


def captions(
    folder: Path,
    name: str,
    texts: Mapping[str, str],
    run_id: str = "2",
    firsts: Mapping[str, str] = {},  # read only
) -> None:
    """Each of bytes of its own, but for those that have a first."""
    columns = {
        "image_id": list(texts),
        "text": list(texts.values()),
        "run_id": [run_id] * len(texts),
        "prompt": ["p"] * len(texts),
        "sha256": [firsts.get(i, i) for i in texts],
        "duplicate_of": pa.array([firsts.get(i) for i in texts], pa.string()),
    }
    write(folder / "captions" / f"{name}.parquet", columns)


def quarantine(folder: Path, codes: Mapping[str, str]) -> None:
    columns = {"image_id": list(codes), "error_code": list(codes.values())}
    write(folder / "quarantine" / "part-1.parquet", columns)


def write(path: Path, columns: Mapping[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(dict(columns)), path)


def test_nothing_to_find(output: Folder) -> None:
    assert problems(output, CORPUS, TEXTS) == []


def test_row_lost(output: Folder) -> None:
    (Path(output.url) / "captions" / "part-2.parquet").unlink()
    assert problems(output, CORPUS, TEXTS) == ["1 lost: a#1"]


def test_row_captioned_twice(output: Folder) -> None:
    captions(Path(output.url), "part-3", {"a#1": "one"})
    assert problems(output, CORPUS, TEXTS) == ["1 twice: a#1"]


def test_row_in_both_places(output: Folder) -> None:
    quarantine(Path(output.url), {"b#0": "image_empty", "a#1": "generation_failed"})
    assert problems(output, CORPUS) == ["1 twice: a#1", "1 ended wrongly: a#1"]


def test_row_of_another_corpus(output: Folder) -> None:
    captions(Path(output.url), "part-3", {"c#0": "none"})
    assert problems(output, CORPUS) == ["1 unknown: c#0"]


@pytest.mark.parametrize("codes", [{"b#0": "image_corrupt"}, {"b#0": ""}])
def test_row_with_another_code(output: Folder, codes: Mapping[str, str]) -> None:
    quarantine(Path(output.url), codes)
    assert problems(output, CORPUS, TEXTS) == ["1 ended wrongly: b#0"]


def test_another_text(output: Folder) -> None:
    captions(Path(output.url), "part-2", {"a#1": "two"})
    assert problems(output, CORPUS, TEXTS) == ["1 other text: a#1"]
    assert problems(output, CORPUS) == []


def test_no_text(output: Folder) -> None:
    captions(Path(output.url), "part-2", {"a#1": ""})
    assert problems(output, CORPUS) == ["1 ended wrongly: a#1"]


@pytest.mark.parametrize(
    "name",
    ["captions/.part-1.parquet.77.tmp", ".write-check-1", "x.tmp", "waiting/part-1.parquet"],
)
def test_left_over(output: Folder, name: str) -> None:
    (Path(output.url) / name).parent.mkdir(exist_ok=True)
    (Path(output.url) / name).touch()
    assert problems(output, CORPUS, TEXTS) == [f"1 left over: {name}"]


def test_answered_in_vain(output: Folder) -> None:
    assert in_vain(output, {"1": 2, "2": 1}) == []
    assert in_vain(output, {"1": 1, "2": 2}) == ["the last run answered 2 rows and stored 1"]
    assert in_vain(output, {}) == []


def test_copies_are_not_answered(output: Folder) -> None:
    captions(Path(output.url), "part-3", {"a#2": "zero"}, firsts={"a#2": "a#0"})
    assert in_vain(output, {"1": 1, "2": 1}) == []


WRONG_COPIES = {
    "1 copies of nothing: c": ({"c": "zero"}, {"c": "a#7"}),
    "1 copies of copies: d": ({"c": "zero", "d": "zero"}, {"c": "a#0", "d": "c"}),
    "1 copies of another: c": ({"c": "other"}, {"c": "a#0"}),
}


@pytest.mark.parametrize("told", WRONG_COPIES)
def test_copies_of_what_they_are_not(output: Folder, told: str) -> None:
    assert copies_wrong(output, undisturbed=True) == []
    texts, firsts = WRONG_COPIES[told]
    captions(Path(output.url), "part-3", texts, firsts=firsts)
    assert told in copies_wrong(output, undisturbed=True)


def test_captioned_again(output: Folder) -> None:
    captions(Path(output.url), "part-3", {"c": "zero"})
    table = pq.read_table(Path(output.url, "captions", "part-3.parquet"))
    same = table.set_column(table.column_names.index("sha256"), "sha256", [["a#0"]])
    pq.write_table(same, Path(output.url, "captions", "part-3.parquet"))
    assert copies_wrong(output, undisturbed=True) == ["1 captioned again: a#0"]
    assert copies_wrong(output, undisturbed=False) == []


def test_what_a_kill_cost() -> None:
    def answered(*times: float) -> list[Answered]:
        return [Answered(run_id="r", unix_sec=sec, rows=8) for sec in times]

    batches = answered(3.0, 1.0, 2.0, 4.5)  # the last one after the kill
    assert lost_work(batches, 24, 4.0) == LostWork(run_id="r", rows=0, seconds=0)
    assert lost_work(batches, 16, 4.0) == LostWork(run_id="r", rows=8, seconds=1.0)
    assert lost_work(batches, 10, 4.0) == LostWork(run_id="r", rows=14, seconds=2.0)
    assert lost_work(batches, 32, 4.0).rows == 0
    assert lost_work([], 0, 4.0) == LostWork(run_id="", rows=0, seconds=0)
