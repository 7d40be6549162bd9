"""Questions stored as the job's input, and what is read of its output."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lab.evaluation import store as store_module
from lab.evaluation.benchmarks import choose, drawn
from lab.evaluation.options import EvaluationConfig
from lab.evaluation.results.answers import Speed, mean, read_answers, sample_table, speed_of
from lab.evaluation.store import AskedImage, QuestionStore
from lab.questions import BenchmarkImage, Question
from pipeline.accounting.stats import STATS_SCHEMA
from pipeline.parts.sink import REPORT, Sink
from pipeline.rows.errors import ConfigError, InputError, JobError, StorageError
from pipeline.sources import ReadOptions, Shard, list_input
from pipeline.sources.shard_reader import read_shard
from pipeline.storage.store import Store

SETTING = {"benchmark": "b", "seed": 0}


def image(name: str, *tasks: str) -> BenchmarkImage:
    asked = tuple(
        Question(
            question_id=f"{name}-{k}",
            task=task,
            text=f"{task}?",
            answers=("a", "b"),
            details={"kind": "x"},
        )
        for k, task in enumerate(tasks)
    )
    return BenchmarkImage(image_id=name, data=f"bytes of {name}".encode(), questions=asked)


IMAGES = [image("../one", "count"), image("two", "count", "chart"), image("two", "chart")]


def stored(folder: Path) -> QuestionStore:
    found = QuestionStore(store=Store(url=str(folder / "data")))
    found.ensure(SETTING, lambda: IMAGES)
    return found


def test_what_is_stored_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "IMAGES_PER_SHARD", 2)
    found = stored(tmp_path)
    assert list(found.images()) == IMAGES
    assert [(a.image_id, a.questions) for a in found.asked()] == [
        (i.image_id, i.questions) for i in IMAGES
    ]
    assert len({asked.digest for asked in found.asked()}) == 2  # "two" is there twice
    assert found.manifest() == {"setting": SETTING, "images": 3, "questions": 4}
    assert len(list((tmp_path / "data").glob("*.parquet"))) == 2


def test_row_ids_are_those_that_the_job_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever an image is called, and also where two are called the same."""
    monkeypatch.setattr(store_module, "IMAGES_PER_SHARD", 2)
    found = stored(tmp_path)
    options = ReadOptions(prompt_column="question")
    rows = [row for shard in shards(found) for row in read_rows(shard, options)]
    given = [(row["row_ids"], row["prompts"], row["error_code"]) for row in rows]
    wanted = [
        (list(asked.row_ids), [question.text for question in asked.questions], None)
        for asked in found.asked()
    ]
    assert given == wanted


def shards(found: QuestionStore) -> tuple[Shard, ...]:
    return list_input([found.glob], storage_options={}, input_root=found.store.url).shards


def read_rows(shard: Shard, options: ReadOptions) -> Iterator[dict[str, Any]]:
    for table in read_shard(shard, options):
        yield from (row for row in table.to_pylist() if row["shard_rows"] is None)


def test_questions_are_written_once(tmp_path: Path) -> None:
    found = stored(tmp_path)

    def again() -> list[BenchmarkImage]:
        raise AssertionError("read twice")

    assert found.ensure(SETTING, again)["questions"] == 4


def test_a_writing_that_was_stopped_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "IMAGES_PER_SHARD", 2)

    def stopped() -> Iterator[BenchmarkImage]:
        yield from [image(f"old-{k}", "count") for k in range(6)]
        raise KeyboardInterrupt

    found = QuestionStore(store=Store(url=str(tmp_path / "data")))
    with pytest.raises(KeyboardInterrupt):
        found.ensure(SETTING, stopped)
    assert found.manifest() is None and list(found.images())
    found.ensure(SETTING, lambda: IMAGES)
    assert list(found.images()) == IMAGES


def test_other_questions_are_refused(tmp_path: Path) -> None:
    message = "seed: the questions at --output are those of 0, not of 1; give another --output"
    with pytest.raises(ConfigError, match=message):
        stored(tmp_path).ensure(SETTING | {"seed": 1}, lambda: IMAGES)


def test_no_questions_are_an_error(tmp_path: Path) -> None:
    empty = QuestionStore(store=Store(url=str(tmp_path)))
    with pytest.raises(InputError, match="no questions"):
        empty.ensure(SETTING, list)


def write(folder: Path, kind: str, rows: list[dict[str, Any]]) -> Sink:
    (folder / kind).mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / kind / "part-r-0.parquet")
    return Sink(url=str(folder))


def run_output(folder: Path) -> Sink:
    """Of a run that answered all but the last question."""
    tokens = {"visual_tokens_kept": 64, "visual_tokens_dense": 320, "prompt_tokens": 80}
    texts = {"q#0#q0": "5", "q#1#q0": "7", "q#1#q1": "a"}
    write(folder, "captions", [{"image_id": i, "text": t} | tokens for i, t in texts.items()])
    bad = {"image_id": "q#2#q0", "error_code": "image_empty"}
    return write(folder, "quarantine", [bad])


def asked_of_run() -> list[AskedImage]:
    ids = (("q#0#q0",), ("q#1#q0", "q#1#q1"), ("q#2#q0",))
    return [
        AskedImage(image_id=i.image_id, digest="", questions=i.questions, row_ids=row_ids)
        for i, row_ids in zip(IMAGES, ids, strict=True)
    ]


def test_samples_hold_answers_and_scores(tmp_path: Path) -> None:
    answers = read_answers(run_output(tmp_path), asked_of_run())
    named = {"method": "hired", "budget": 0.2, "label": "hired-0.2"}
    rows = sample_table(asked_of_run(), answers, named).to_pylist()
    assert [(r["question_id"], r["prediction"], r["error_code"], r["score"]) for r in rows] == [
        ("../one-0", "5", None, 0.0),
        ("two-0", "7", None, 0.0),
        ("two-1", "a", None, 1.0),
        ("two-0", None, "image_empty", 0.0),
    ]
    assert rows[2]["answers"] == ["a", "b"] and rows[2]["visual_tokens_kept"] == 64
    assert rows[3]["visual_tokens_kept"] is None
    assert {(r["method"], r["budget"], r["label"]) for r in rows} == {("hired", 0.2, "hired-0.2")}


def test_an_answer_that_is_missing_is_an_error(tmp_path: Path) -> None:
    more = AskedImage(image_id="x", digest="", questions=IMAGES[0].questions, row_ids=("q#3#q0",))
    with pytest.raises(StorageError, match="no answer to 1 questions, q#3#q0 among them"):
        read_answers(run_output(tmp_path), [*asked_of_run(), more])


def test_speed_leaves_out_start_and_pauses(tmp_path: Path) -> None:
    """Two runs, each from its first batch of the vision tower to its last of generation."""
    stages = [
        ("r", "read", 0.0, 100.0, 4),
        ("r", "select", 10.0, 1.0, 4),
        ("r", "generate", 11.0, 3.0, 4),
        ("s", "select", 1000.0, 1.0, 4),
        ("s", "select", 1001.0, 1.0, 4),
        ("s", "generate", 1001.0, 5.0, 8),
    ]
    names = ("run_id", "stage", "started_at", "wall_sec", "num_images")
    rows = [dict.fromkeys(STATS_SCHEMA.names) | dict(zip(names, s, strict=True)) for s in stages]
    (tmp_path / "stats").mkdir()
    table = pa.Table.from_pylist(rows, schema=STATS_SCHEMA)
    pq.write_table(table, tmp_path / "stats" / "part-r-0.parquet")
    sink = Sink(url=str(tmp_path))
    assert speed_of(sink) == Speed(running=12 / (4 + 6), with_start=None)
    sink.put_json(REPORT, {"images_per_sec": 0.5})
    assert speed_of(sink).with_start == 0.5
    assert speed_of(Sink(url=str(tmp_path / "none"))) == Speed(running=None, with_start=None)


def test_mean_is_over_what_is_known() -> None:
    assert mean([1, None, 3]) == 2
    assert mean([None]) is None


def config(**settings: Any) -> EvaluationConfig:
    return EvaluationConfig(output="o", **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"benchmark": "textvq"}, "benchmark: no 'textvq'; there are rendered, textvqa, vqav2"),
        ({"benchmark": "textvqa"}, "input: --benchmark textvqa is read from files; name them"),
        ({"benchmark": "pope", "input": ["x"], "tasks": "count"}, "x"),
    ],
)
def test_benchmarks_that_cannot_be_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError) as error:
        choose(config(**settings))
    assert message in str(error.value) and "\n" not in str(error.value)


def test_public_benchmark_is_read_from_its_files(tmp_path: Path) -> None:
    rows = [
        {"image": {"bytes": b"p", "path": None}, "question": "Is there a dog?", "answer": a}
        | {"image_source": str(k // 2), "question_id": str(k), "id": str(k), "category": "random"}
        for k, a in enumerate(("yes", "no", "yes", "no", "no", "yes"))
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "pope.parquet")
    found = choose(config(benchmark="pope", input=[str(tmp_path / "pope.parquet")], num_samples=2))
    images = list(found.images())
    assert found.tasks == ("pope",) and len(images) == 2
    assert {q.task for i in images for q in i.questions} == {"pope"}
    assert images == list(found.images())


def test_drawn_images_are_spread_and_in_order() -> None:
    images = [image(str(k), "count") for k in range(100)]
    some = [int(i.image_id) for i in drawn(lambda: iter(images), 10, 0)]
    assert len(some) == 10 and some == sorted(some) and some[-1] > 50 > some[0]
    assert some == [int(i.image_id) for i in drawn(lambda: iter(images), 10, 0)]
    assert some != [int(i.image_id) for i in drawn(lambda: iter(images), 10, 1)]
    assert list(drawn(lambda: iter(images), None, 0)) == images
    assert list(drawn(lambda: iter(images), 1000, 0)) == images
