"""The page as text: what it holds, that it asks for nothing, and that what models say is text."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lab.evaluation.page.choose import choose, kinds_of
from lab.evaluation.page.encoded import heat_colours, hex_bits, partition_uri
from lab.evaluation.page.evaluation import page_from_evaluation
from lab.evaluation.page.examples import Answer, Example
from lab.evaluation.page.render import render_page
from lab.evaluation.page.trace import Tracer
from tests.support.halves import Halves, picture
from tests.support.settings import reduction

SAID = '</script><script>alert("1")</script> & http://example.com/'
RUNS = [("hired", 0.1), ("hired", 0.2), ("uniform", 0.1), ("uniform", 0.2), ("dense", 1.0)]


@pytest.fixture(scope="module")
def tracer(small_checkpoint: Path) -> Tracer:
    halves = Halves(small_checkpoint)
    return Tracer(halves.vision, halves.spec)


def encoded(height: int, width: int) -> bytes:
    buffer = io.BytesIO()
    picture(height, width).save(buffer, "png")
    return buffer.getvalue()


def answers(scores: list[float], prediction: str | None = "x") -> list[Answer]:
    return [
        Answer(method=method, budget=budget, prediction=prediction, score=score)
        for (method, budget), score in zip(RUNS, scores, strict=True)
    ]


def example(tracer: Tracer) -> Example:
    settings = [reduction(method=m, token_budget=b) for m, b in RUNS]
    return Example(
        name=SAID, task=SAID, question=SAID, references=(SAID,), why=SAID,
        answers=tuple(answers([1, 0.5, 0, 1, 1], SAID)),
        trace=tracer(encoded(90, 112), settings),
    )  # fmt: skip


class Page(HTMLParser):
    """Tags with their attributes, and the text of scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script":
            self.scripts.append(data)


def test_what_people_and_models_write_stays_text(tracer: Tracer) -> None:
    page = Page(render_page([example(tracer)], title=SAID, notes=[SAID]))
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert not any("alert" in script for script in page.scripts)


def test_everything_the_page_shows_is_in_it(tracer: Tracer) -> None:
    """Whatever a browser would fetch is a data URI or a place on the page."""
    page = Page(render_page([example(tracer)], title="t"))
    links = [
        value or ""
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "xlink:href", "action", "poster", "data")
    ]
    assert len(links) > 20
    assert {re.split("[:0-9]", link)[0] for link in links} == {"data", "#e"}
    style = (Path(render_page.__code__.co_filename).parent / "style.css").read_text()
    assert re.findall(r"url\(([^)]*)\)", style) == ["#hatch"] and "@import" not in style


def test_masks_are_those_of_the_trace(tracer: Tracer) -> None:
    one = example(tracer)
    (data,) = json.loads(Page(render_page([one], title="t")).scripts[0])
    assert set(data["runs"]) == {"hired", "uniform", "dense"}
    for (method, budget), selection in one.runs.items():
        stored = data["runs"][method][f"{budget:g}"]
        bits = [[int(bit) for digit in keep for bit in f"{int(digit, 16):04b}"]
                for keep in stored["keep"]]  # fmt: skip
        np.testing.assert_array_equal(bits, selection.keep)
        assert stored["budgets"] == selection.budgets.tolist()


def test_verdicts_are_words_not_only_colours(tracer: Tracer) -> None:
    html = render_page([example(tracer)], title="t")
    found = re.findall(r'class="verdict \w+"><span aria-hidden="true">(.)</span> ([^<]+)<', html)
    right, wrong, partly = ("✓", "right 1.00"), ("✗", "wrong 0.00"), ("◐", "partly right 0.50")
    assert found == [right, partly, wrong, right, right]


def test_hexadecimal_masks() -> None:
    bits = [1, 0, 0, 0, 0, 1, 0, 1, 1]
    assert hex_bits(np.array(bits, dtype=bool)) == "858"  # the last digit is padded


def test_heat_runs_from_dark_to_each_partition_s_own_largest() -> None:
    colours = heat_colours(np.array([0.0, 0.02, 0.08]))
    brightness = colours.astype(int).sum(-1)
    assert brightness[0] == 4 and brightness[2] == 252 + 255 + 164
    assert colours[1].tolist() == [188, 55, 84]  # the root of a quarter is a half
    assert heat_colours(np.zeros(2)).tolist() == [[0, 0, 4]] * 2


def test_partitions_are_stored_nearly_as_they_are() -> None:
    pixels = np.asarray(picture(56, 56)).transpose(2, 0, 1)
    stored = base64.b64decode(partition_uri(pixels).partition(",")[2])
    found = np.asarray(Image.open(io.BytesIO(stored)).convert("RGB")).transpose(2, 0, 1)
    off = (found.astype(int) - pixels).reshape(3, 4, 14, 4, 14).mean((2, 4))
    assert np.abs(off).max() < 3  # of a patch's mean, of 255; the picture is mostly noise


@pytest.mark.parametrize(
    ("scores", "kinds"),
    [
        ([1, 1, 1, 1, 1], {"right"}),
        ([1, 1, 0, 1, 1], {"differ"}),
        ([1, 0, 1, 0, 1], set()),  # budgets differ, methods do not
        ([0, 0, 0, 0, 0], {"fail"}),
        ([1, 0, 0, 0, 0.5], {"differ", "fail"}),
    ],
)
def test_kinds_of_questions(scores: list[float], kinds: set[str]) -> None:
    assert kinds_of(answers(scores)) == kinds


def test_a_draw_depends_on_nothing_but_its_own_task_and_seed() -> None:
    right, wrong = answers([1] * 5), answers([0] * 5)
    tasks = ["a"] * 40 + ["b"] * 40
    found = [right, wrong] * 40
    chosen = choose(tasks, found, each=2, seed=5)
    assert [one.task for one in chosen] == ["a"] * 4 + ["b"] * 4
    assert len({one.place for one in chosen}) == 8
    assert "the 20 of 40 questions where every run is right" in chosen[2].why
    assert choose(tasks[:40], found[:40], each=2, seed=5) == chosen[:4]
    others = [choose(tasks, found, each=2, seed=seed) for seed in (6, 7)]
    assert chosen not in others and others[0] != others[1]


def test_no_question_is_shown_twice_and_few_are_enough() -> None:
    both = answers([1, 0, 0, 0, 0])
    (one,) = choose(["a"], [both], each=3, seed=0)
    assert one.why == "Picked from the 1 of 1 questions where methods differ at one budget."


def store(
    folder: Path, tracer: Tracer, runs: Sequence[tuple[str, float]] = RUNS, **changed: object
) -> Path:
    """An evaluation of three questions, as `jobs/evaluate.py` writes it."""
    images = {f"q{i}": encoded(*size) for i, size in enumerate([(56, 112), (90, 112), (40, 168)])}
    settings = [reduction(method=m, token_budget=b) for m, b in runs]
    rows = []
    folder.mkdir(exist_ok=True)
    for i, (name, data) in enumerate(images.items()):
        trace = tracer(data, settings)
        for (method, budget), kept in zip(runs, trace.selections, strict=True):
            score = [1.0, 0.0, float(method == "hired")][i]
            rows.append(
                {
                    "method": method, "budget": budget, "label": f"{method} {budget}",
                    "task": "count", "question_id": name, "image_id": f"image of {name}",
                    "question": "How many?", "answers": ["3"], "prediction": f"{method} said",
                    "score": score, "visual_tokens_kept": kept.num_left,
                    "visual_tokens_dense": kept.num_dense,
                }
                | changed
            )  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), folder / "samples.parquet")
    (folder / "data").mkdir()
    for i, (name, data) in enumerate(images.items()):
        image = {"bytes": data, "path": None}
        row = {"image": image, "image_id": f"image of {name}", "question": ["How many?"]}
        pq.write_table(pa.Table.from_pylist([row]), folder / f"data/part-{i}.parquet")
    return folder


def test_the_page_of_an_evaluation(tmp_path: Path, tracer: Tracer) -> None:
    html = page_from_evaluation(store(tmp_path, tracer), tracer)
    shown = re.findall(r'class="about">(q\d), (\d+ x \d+)', html)
    assert sorted(shown) == [("q0", "112 x 56"), ("q1", "112 x 90"), ("q2", "168 x 40")]
    assert html.count("hired said") == 6 and html.count("dense said") == 3
    assert "with seed 0" in html


def test_methods_that_merge_or_drop_later_are_on_the_page_of_an_evaluation(
    tmp_path: Path, tracer: Tracer
) -> None:
    """Their counts are checked against the rows like any other's."""
    runs = [("average-pool", 0.1), ("average-pool", 0.2), ("fastv", 0.1), ("fastv", 0.2)]
    folder = store(tmp_path, tracer, runs=[*runs, ("dense", 1.0)])
    html = page_from_evaluation(folder, tracer)
    assert 'data-method="average-pool"' in html and 'data-method="fastv"' in html
    off = store(tmp_path / "off", tracer, runs=[("fastv", 0.1)], visual_tokens_kept=7)
    with pytest.raises(ValueError, match="7 of"):
        page_from_evaluation(off, tracer)


def test_only_the_runs_that_are_named(tmp_path: Path, tracer: Tracer) -> None:
    runs = {"hired 0.1": reduction(token_budget=0.1)}
    html = page_from_evaluation(store(tmp_path, tracer), tracer, runs=runs)
    assert 'data-method="hired"' in html and "uniform" not in html


def test_tokens_that_the_run_did_not_keep_are_not_shown(tmp_path: Path, tracer: Tracer) -> None:
    folder = store(tmp_path, tracer, visual_tokens_kept=7)
    with pytest.raises(ValueError, match=r"q\d, run .*: 7 of \d+ visual tokens were kept"):
        page_from_evaluation(folder, tracer)


def test_merged_rows_and_notes_are_on_the_page(tracer: Tracer) -> None:
    """Rows as patches and levels; of a method inside the language model what is left, in words."""
    pooled = reduction(method="average-pool", token_budget=0.2)
    inside = reduction(method="fastv", token_budget=0.2)
    trace = tracer(encoded(90, 112), [pooled, inside])
    one = replace(example(tracer), trace=trace, answers=())
    (data,) = json.loads(Page(render_page([one], title="t")).scripts[0])
    rows = data["runs"]["average-pool"]["0.2"]["rows"]
    weights = trace.selections[0].weights
    assert weights is not None and len(rows) == len(weights) > 1
    for row, pairs in zip(weights.reshape(len(weights), -1), rows, strict=True):
        assert pairs[::2] == np.flatnonzero(row).tolist()
        assert set(pairs[1::2]) == {9}  # a mean takes as much of each
    note = data["runs"]["fastv"]["0.2"]["note"]
    assert f"at most {trace.selections[1].num_left} from layer" in note
    assert "rows" not in data["runs"]["fastv"]["0.2"] and "note" not in data["runs"]["average-pool"]


def test_a_lost_row_is_shown_as_lost(tmp_path: Path, tracer: Tracer) -> None:
    folder = store(tmp_path, tracer, prediction=None, score=0.0, visual_tokens_kept=None)
    assert page_from_evaluation(folder, tracer).count("in quarantine") == 15 // 3


def test_an_image_that_is_not_there_is_named(tmp_path: Path, tracer: Tracer) -> None:
    folder = store(tmp_path, tracer)
    (folder / "data/part-1.parquet").unlink()
    with pytest.raises(ValueError, match="no image 'image of q1'"):
        page_from_evaluation(folder, tracer)


def test_runs_that_cannot_be_told_apart(tmp_path: Path, tracer: Tracer) -> None:
    folder = store(tmp_path, tracer, method="hired", budget=0.1)
    with pytest.raises(ValueError, match=r"are both hired at 0\.1: name with `runs`"):
        page_from_evaluation(folder, tracer)
