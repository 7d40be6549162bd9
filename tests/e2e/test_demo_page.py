"""The demo's page in a real browser: opens with what was done, fits a phone, finds, asks for
nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.demo import SAMPLES
from lab.demo.demo_page import render_demo
from lab.evaluation.gallery import Comparison, load_samples
from tests.e2e.test_report_in_browser import contrast
from tests.support.chromium import NAMES, Browser, chromium, find_chromium

CHROMIUM = find_chromium()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=f"no browser: {', '.join(NAMES)}")

LONG = "/".join(["a-path-without-end"] * 20)
MARKUP = "<img src=https://example.com/x.png onerror='document.title=1'>"
REPORT: dict[str, Any] = {
    "rows": 70, "shards": 4, "captioned": 64, "quarantined": 2, "wall_sec": 31.5, "usd": 0.0012,
    "quarantined_by_code": {"image_corrupt": 1, "image_truncated": 1}, "first_text_sec": 7.25,
    "token_budget_asked": "budget 0.4: 288 of at most 720 per image", "usd_per_1000_images": 0.0171,
    "visual_tokens_dense": 40_000, "visual_tokens_kept": 18_000, "cpu_hour_usd": 0.05,
    "gpu_hour_usd": 2.0, "cluster": {"cpus": 2.0, "gpus": 0},
    "stages": {"read": {"num_images": 70, "busy_sec": 0.25, "cost_usd": 0.00001}},
}  # fmt: skip


def made() -> str:
    """Of captions that are all right, partly right and wrong, and of two lost rows."""
    compared = []
    for number, (image_id, sample) in enumerate(sorted(load_samples(SAMPLES).items())):
        text = [sample.caption, f"{sample.caption[:40]} {MARKUP}", LONG][number % 3]
        compared.append(
            Comparison(image_id=image_id, text=text, tokens="144 of 720", sample=sample)
        )
    lost = [
        {"image_id": LONG, "error_code": "image_corrupt", "error_detail": LONG},
        {"image_id": "b#1", "error_code": "image_truncated", "error_detail": "ends early"},
    ]
    return render_demo(compared, lost, REPORT)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("demo") / "index.html"
    path.write_text(made(), encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    assert CHROMIUM is not None
    with chromium(CHROMIUM, tmp_path_factory.mktemp("browser") / "profile") as running:
        yield running


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_wider_than_the_window_or_at_its_edge(
    browser: Browser, url: str, width: int
) -> None:
    browser.show(url, width=width)
    assert browser.value("document.documentElement.scrollWidth") <= width
    boxes = """[...document.querySelectorAll('body *')].filter(one => !one.closest('.scroll, svg'))
        .map(one => one.getBoundingClientRect()).filter(box => box.width)
        .map(box => [box.left, box.right])"""
    found = browser.value(boxes)
    assert min(left for left, _ in found) >= 12
    assert max(right for _, right in found) <= width - 12


@pytest.mark.parametrize("dark", [False, True])
def test_it_is_light_or_dark_and_can_be_read(browser: Browser, url: str, dark: bool) -> None:
    browser.show(url, width=1280, dark=dark)
    luminance = browser.screenshot()[:10].mean()
    assert luminance < 40 if dark else luminance > 240
    colours = """['body', '.card', '.right', '.partly', '.wrong', '.lost', 'select'].map(name => {
        const one = document.querySelector(`.verdict${name}`) ?? document.querySelector(name);
        let behind = one;
        const clear = () => getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)';
        while (clear() && behind.parentElement)
            behind = behind.parentElement;
        return [name, getComputedStyle(one).color, getComputedStyle(behind).backgroundColor];
    })"""
    for name, text, ground in browser.value(colours):
        assert contrast(text, ground) > 4.5, (name, text, ground)


def test_it_opens_with_what_was_done_and_what_it_cost(browser: Browser, url: str) -> None:
    browser.show(url, width=400)
    top = browser.value("document.querySelector('header').innerText")
    assert "70 images in 4 shards were read; 64 were captioned and 2 set aside" in top
    tiles = browser.value("document.querySelector('.tiles').innerText")
    for told in ("image_corrupt 1, image_truncated 1", "USD 0.0012", "USD 0.0171 per 1000 images"):
        assert told in tiles
    assert "7.2 s to the first text" in tiles
    places = """['header', '.tiles', '.controls', '.card'].map(name =>
        document.querySelector(name).getBoundingClientRect().top)"""
    tops = browser.value(places)
    assert tops == sorted(tops)
    assert "GPU-hour" not in browser.value("document.body.innerText")


def test_rows_are_found_by_word_and_by_kind(browser: Browser, url: str) -> None:
    browser.show(url, width=1280)
    left = "[...document.querySelectorAll('.card:not([hidden])')].map(one => one.dataset.kind)"
    choose = """((id, value, event) => { const one = document.getElementById(id);
        one.value = value; one.dispatchEvent(new Event(event)); })"""
    assert len(browser.value(left)) == 66
    browser.value(f"{choose}('kind', 'lost', 'change')")
    assert browser.value(left) == ["lost", "lost"]
    browser.value(f"{choose}('find', 'ENDS early', 'input')")
    assert browser.value(left) == ["lost"]
    assert browser.value("document.querySelector('output').textContent") == "1 of 66"
    browser.value(f"{choose}('kind', 'right', 'change')")
    assert browser.value(left) == []
    assert browser.value("document.getElementById('nothing').hidden") is False
    browser.value(f"{choose}('find', '', 'input')")
    found = browser.value(left)
    assert set(found) == {"right"} and len(found) > 20


def test_pictures_are_there_and_nothing_is_asked_for(browser: Browser, url: str) -> None:
    browser.events.clear()
    browser.show(url, width=1280)
    shown = """Promise.all([...document.images].map(one => { one.loading = 'eager';
        return one.decode().then(() => one.naturalWidth) }))"""
    widths = browser.value(shown)
    assert len(widths) == 64 and min(widths) > 100
    assert browser.value("Math.min(...[...document.images].map(one => one.offsetHeight))") > 60
    asked = {
        parameters["request"]["url"]
        for method, parameters in browser.events
        if method == "Network.requestWillBeSent"
    }
    assert {one for one in asked if not one.startswith("data:image/")} == {url}
    assert browser.value("document.documentElement.dataset.errors ?? null") is None
    assert browser.value("document.title").startswith("What the shipped model says")
