"""Two outputs joined and compared: counts by hand, words by hand, memory that is bounded."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.job.commands import report
from pipeline.parts.sink import Sink
from pipeline.report.reading.changes import compare, words_of
from pipeline.report.reading.parts_read import Parts
from tests.support.exports import captioned
from tests.support.reported import add_part, caption, page_of


def output(folder: Path, *rows: dict[str, object]) -> Parts:
    sink = Sink(url=str(folder))
    add_part(sink, "captions", rows)
    return Parts(sink)


def test_words_that_changed_are_marked() -> None:
    change, first, second = words_of("a red cat sits", "a blue cat sits down")
    assert [word.text for word in first if word.changed] == ["red"]
    assert [word.text for word in second if word.changed] == ["blue", "down"]
    assert change == pytest.approx(1 - 2 * 3 / 9)
    assert words_of("same  words", "same words")[0] == 0
    assert words_of("all", "other")[0] == 1 and words_of("", "")[0] == 0


def test_captions_are_joined_by_image_and_prompt(tmp_path: Path) -> None:
    a = output(
        tmp_path / "a",
        caption(1, "same", visual_tokens_kept=20),
        caption(2, "one two three", visual_tokens_kept=30),
        caption(3, "only here"),
        caption(4, "named", prompt_name="short"),
        caption(4, "named at length", prompt_name="long"),
    )
    b = output(
        tmp_path / "b",
        caption(1, "same", visual_tokens_kept=4),
        caption(2, "one two four", visual_tokens_kept=6),
        caption(4, "told at length", prompt_name="long"),
        caption(4, "named", prompt_name="short"),
        caption(4, "named", prompt_name="short"),
        caption(9, "only there"),
    )
    found = compare(a, b, examples=10, seed=0)
    assert (found.joined, found.same, found.alone, found.looked_at) == (4, 2, (1, 1), 2)
    assert found.kept == ((20 + 30 + 20 + 20) / 4, (4 + 6 + 20 + 20) / 4)
    assert [pair.id for pair in found.pairs] == ["a.tar#2", "a.tar#4\nlong"]
    assert found.pairs[0].places == (("captions/part-x-1.parquet", 1),) * 2
    assert found.pairs[1].places[1] == ("captions/part-x-1.parquet", 2)


def test_the_most_changed_come_first_and_some_of_the_others(tmp_path: Path) -> None:
    words = [f"w{n}" for n in range(20)]
    rows = [caption(n, " ".join(words)) for n in range(20)]
    changed = [caption(n, " ".join([*words[:n], *["x"] * (20 - n)])) for n in range(20)]
    a, b = output(tmp_path / "a", *rows), output(tmp_path / "b", *changed)
    found = compare(a, b, examples=4, seed=0)
    assert [pair.id for pair in found.pairs] == ["a.tar#0", "a.tar#1", "a.tar#10", "a.tar#19"]
    assert [round(pair.change, 2) for pair in found.pairs] == [1.0, 0.95, 0.5, 0.05]
    assert len(found.changes) == 20


def test_nothing_in_common(tmp_path: Path) -> None:
    a, b = output(tmp_path / "a", caption(1)), Parts(Sink(url=str(tmp_path / "b")))
    found = compare(a, b, examples=4, seed=0)
    assert (found.joined, found.alone, found.pairs, found.kept) == (0, (1, 0), [], (None, None))


def test_texts_that_are_no_utf8_are_compared_as_well(tmp_path: Path) -> None:
    a, b = output(tmp_path / "a", caption(1)), output(tmp_path / "b", caption(1))
    path = tmp_path / "b/captions/part-x-1.parquet"
    table = pq.read_table(path)
    text = pa.array([b"a \xff"], pa.binary()).view(pa.string())
    pq.write_table(table.set_column(table.column_names.index("text"), "text", text), path)
    (pair,) = compare(a, b, examples=4, seed=0).pairs
    assert [word.text for word in pair.words[1]] == ["a", "\ufffd"]


def test_an_output_that_has_but_runs_below_it_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output(tmp_path / "a/runs/f00", caption(1))
    output(tmp_path / "b", caption(1))
    for more in ([], ["--html", str(tmp_path / "x.html")]):
        assert report(["--compare", str(tmp_path / "a"), str(tmp_path / "b"), *more]) == 2
        assert "name one of them, as" in capsys.readouterr().err


def test_a_page_puts_both_beside_the_image(tmp_path: Path) -> None:
    made = captioned(tmp_path)
    other = tmp_path / "other"
    rows = [row | {"text": "another <b>text</b>"} for row in made.captions().values()]
    output(other, *rows[:3])
    words = ("--compare", str(made.output), str(other))
    page = page_of(tmp_path, *words)
    assert "3 captions are in both; 0 (0%) have the same text" in page.text
    marked = page.html.count("<mark>")
    assert marked > 6 and "<b>text</b>" not in page.html and "<b>text</b>" in page.text
    assert len([one for one in page.all("article")]) == 3
    assert report(words) == 0
