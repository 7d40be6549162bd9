"""Tables, page and picture of results."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from lab.evaluation.results.plot import plot
from lab.evaluation.results.table import markdown, tables

TASKS = {"count": ("exact match", 100.0), "caption": ("object F1", 1.0)}
SVG = "{http://www.w3.org/2000/svg}"


def figure(label: str, task: str, value: float, **minus: tuple[float, float]) -> dict[str, Any]:
    metric, maximum = TASKS.get(task, ("average", 100.0))
    width = 0.02 * maximum
    return {
        "label": label,
        "task": task,
        "metric": metric,
        "primary": True,
        "maximum": maximum,
        "value": value,
        "low": value - width,
        "high": value + width,
        "minus": {
            name: {"value": (low + high) / 2, "low": low, "high": high}
            for name, (low, high) in minus.items()
        },
    }


def test_no_difference_of_a_few_images_is_marked() -> None:
    """Draws of one image are all the same: its interval leaves out 0 whatever was answered."""
    for images, marked in ((1, False), (5, False), (6, True), (None, True)):
        found = results()
        for entry in found["figures"]:
            entry |= {} if images is None else {"images": images}
        (difference,) = [t for t in tables(found) if t.title.startswith("Difference to")]
        cells = [cell for row in difference.rows for cell in row[1:]]
        assert any(cell.endswith("*") for cell in cells) == marked, images


def variant(method: str, budget: float, label: str, tokens: float | None = 64) -> dict[str, Any]:
    return {
        "label": label,
        "method": method,
        "budget": budget,
        "selection": {"budget": budget, "alpha": 0.5},
        "visual_tokens_seen": None if tokens is None else 2 * tokens,
        "visual_tokens_kept": tokens,
        "kv_bytes_per_image": None if tokens is None else 3 * 2**19,
        "images_per_sec": None if tokens is None else 12.5,
        "quarantined": 3,
    }


def results() -> dict[str, Any]:
    figures = [
        figure("hired-0.2", "count", 81.25),
        figure("hired-0.2", "caption", 0.9),
        figure("hired-0.2", "average", 85.5),
        figure("random-0.2", "count", 70.0, hired=(-15.0, -8.0)),
        figure("random-0.2", "caption", 0.91, hired=(-0.004, 0.024)),
        figure("random-0.2", "average", 80.0, hired=(0.5, 1.5)),
        figure("dense", "count", 90.0),
        figure("dense", "caption", 0.95),
        figure("dense", "average", 92.5),
    ]
    other = figure("hired-0.2", "count", 50.0) | {"metric": "yes-rate", "primary": False}
    others = [other | {"label": label} for label in ("hired-0.2", "random-0.2", "dense")]
    return {
        "title": "Accuracy against budget",
        "benchmark": {"setting": {"benchmark": "b", "seed": 4}, "images": 10, "questions": 2000},
        "model": {"name": "embedded", "weights": "abc"},
        "bootstrap": {"draws": 1000, "level": 0.95, "seed": 4},
        "against": {"hired": "hired at the same budget"},
        "variants": [
            variant("hired", 0.2, "hired-0.2"),
            variant("random", 0.2, "random-0.2", None),
            variant("dense", 1.0, "dense", 320.0),
        ],
        "figures": [*figures, *others],
    }


def test_values_with_intervals() -> None:
    table = tables(results())[0]
    columns = ["", "visual tokens seen", "left at the end", "KV cache, MiB/image", "images/s"]
    columns.append("quarantined")
    assert table.columns == [*columns, "count, exact match", "caption, object F1", "average"]
    hired, random, dense = table.rows
    assert list(hired) == [
        *("hired-0.2", "128", "64", "1.50", "12.50", "3"),
        *("81.2 [79.2, 83.2]", "0.900 [0.880, 0.920]", "85.5 [83.5, 87.5]"),
    ]
    assert list(random[:5]) == ["random-0.2", "", "", "", ""]
    assert dense[2] == "320"


def test_speed_measured_in_turns_stands_before_the_job_s() -> None:
    timed = results() | {"timing": {"images": 32, "round": 16}}
    timed["variants"][0]["timed"] = {"images_per_sec": 40.0}
    first, _, last = tables(timed)[0].rows
    assert (first[4], last[4]) == ("40.00", "12.50")
    page = markdown(timed)
    assert "on 32 images" in page and "start of actors" not in page
    assert "start of actors" in markdown(results())


def test_what_should_be_little_is_compared_too() -> None:
    told = results()
    for entry in told["figures"]:
        if entry["metric"] == "yes-rate":
            low = {"hired": {"value": 1.0, "low": 0.5, "high": 1.5}}
            entry.update(better="less", minus=low if entry["label"] == "random-0.2" else {})
    table = tables(told)[1]
    assert table.columns[-1] == "count, yes-rate" and table.rows[0][-1] == "+1.0 [+0.5, +1.5]*"


def test_differences_are_marked_where_they_are_none_of_chance() -> None:
    table = tables(results())[1]
    assert table.title == "Difference to hired at the same budget"
    assert [list(row) for row in table.rows] == [
        [
            "random-0.2",
            "-11.5 [-15.0, -8.0]*",
            "+0.010 [-0.004, +0.024]",
            "+1.0 [+0.5, +1.5]*",
        ]
    ]


def test_other_metrics_have_a_table_of_their_own() -> None:
    table = tables(results())[2]
    assert table.columns == ["", "count, yes-rate"]
    assert list(table.rows[0]) == ["hired-0.2", "50.0 [48.0, 52.0]"]
    alone = results()
    alone["figures"] = [each for each in alone["figures"] if each["primary"]]
    assert len(tables(alone)) == 2


def test_page_says_what_was_measured() -> None:
    page = markdown(results())
    assert page.startswith("# Accuracy against budget: b, 2,000 questions about 10 images\n")
    assert "weights abc; seed 4" in page and "1000 bootstrap draws" in page
    assert page.count("| hired-0.2 |") == 2


def test_picture_has_a_panel_per_task_and_a_line_per_method() -> None:
    root = ET.fromstring(plot(results(), "svg"))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    for name in ("average", "count (exact match)", "caption (object F1)", "hired", "random"):
        assert texts.count(name) == 1
    assert texts.count("dense") == 1 and texts.count("20 %") == 3


def test_picture_against_alpha() -> None:
    """At the alphas of the runs, evenly apart, whatever their budget."""
    varied = results()
    varied["variants"] = [
        fact | {"method": "hired", "selection": {"budget": 0.2, "alpha": alpha}}
        for fact, alpha in zip(varied["variants"], (0.0, 0.5, 1.0), strict=True)
    ]
    root = ET.fromstring(plot(varied, "svg", "alpha"))
    texts = [element.text or "" for element in root.iter(f"{SVG}text")]
    assert texts.count("hired") == 1 and "dense" not in texts
    assert any(text.startswith("alpha") for text in texts)
    assert texts.count("0.0") == texts.count("0.2") == texts.count("1.0") == 3


def test_same_results_are_the_same_picture() -> None:
    assert plot(results(), "svg") == plot(results(), "svg")
    assert plot(results(), "png").startswith(b"\x89PNG")


def test_values_that_agree_have_an_axis_of_a_tenth() -> None:
    """Not of the rounding between them."""
    same = results()
    for entry in same["figures"]:
        entry.update(value=0.0, low=0.0, high=0.0)
    root = ET.fromstring(plot(same, "svg"))
    numbers = [element.text or "" for element in root.iter(f"{SVG}text")]
    assert "4" in numbers and not any("e" in text for text in numbers if text[:1].isdigit())
