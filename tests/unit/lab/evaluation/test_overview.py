"""Pictures of many methods: who leads, what accuracy costs, and a panel for each."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

from lab.evaluation.results.overview import methods_picture, speed_picture
from lab.evaluation.results.plot import plot
from lab.evaluation.results.styles import MOST_COLOURS, styles_of

SVG = "{http://www.w3.org/2000/svg}"
NUMBER = 12


def results(number: int) -> dict[str, Any]:
    """`hired` is the worst, method number 3 the best of the others, and so on down."""
    methods = [*(f"way-{index}" for index in range(number - 1)), "hired", "dense"]
    values = {name: 50.0 - (index - 3) % number for index, name in enumerate(methods)}
    values |= {"hired": 10.0, "dense": 90.0}
    found: dict[str, Any] = {"variants": [], "figures": []}
    for name in methods:
        for budget in (1.0,) if name == "dense" else (0.1, 0.2):
            label, value = f"{name}-{budget}", values[name] + 10 * budget
            found["variants"].append(
                {
                    "label": label,
                    "method": name,
                    "selection": {"budget": budget},
                    "visual_tokens_seen": 720 * budget,
                    "images_per_sec": None,
                    "timed": {"images_per_sec": 5 - 3 * budget},
                }
            )
            entry = {"label": label, "task": "average", "metric": "average", "primary": True}
            entry |= {"maximum": 100.0, "value": value, "low": value - 1, "high": value + 1}
            found["figures"].append(entry)
    return found


def texts(picture: bytes | None) -> list[str]:
    assert picture is not None
    return [element.text or "" for element in ET.fromstring(picture).iter(f"{SVG}text")]


def test_few_methods_all_lead_and_of_many_the_best_and_hired() -> None:
    assert all(style.leads for style in styles_of(results(MOST_COLOURS)).values())
    leading = [name for name, style in styles_of(results(NUMBER)).items() if style.leads]
    assert leading == [*(f"way-{index}" for index in range(3, 10)), "hired"]
    colours = {style.colour for style in styles_of(results(NUMBER)).values()}
    assert len(colours) == MOST_COLOURS + 1


def test_legends_name_those_that_lead_and_count_the_others() -> None:
    for picture in (plot(results(NUMBER), "svg"), speed_picture(results(NUMBER), "svg")):
        found = texts(picture)
        assert found.count("way-3") == found.count("hired") == found.count("dense") == 1
        assert found.count("4 others") == 1 and "way-0" not in found
    assert "others" not in " ".join(texts(plot(results(3), "svg")))


def test_accuracy_against_time_where_it_was_measured() -> None:
    found = texts(speed_picture(results(3), "svg"))
    assert "images/s" in found and "visual tokens that a decoder layer saw" in found
    lacking = results(3)
    lacking["variants"][1]["timed"] = None
    assert speed_picture(lacking, "svg") is None


def test_every_method_has_a_panel_with_its_name() -> None:
    found = texts(methods_picture(results(NUMBER), "svg"))
    assert all(found.count(f"way-{index}") == 1 for index in range(NUMBER - 1))
    assert found.count("hired") == 1
