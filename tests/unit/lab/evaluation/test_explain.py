"""The README's picture, and the command that shows any image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import hired_core
from lab.demo import SAMPLES
from lab.evaluation.page.command import main
from lab.evaluation.page.explain import Explainer, read_image
from lab.evaluation.page.picture import DIM, DIMMED, draw_picture, paint_kept
from tests.support.halves import Halves, picture
from tests.support.settings import reduction

SAMPLE = str(SAMPLES / "parquet" / "samples-00.parquet#8")
PROMPT = "Describe the image."


@pytest.fixture(scope="module")
def explainer(small_checkpoint: Path) -> Explainer:
    return Explainer(str(small_checkpoint))


@pytest.mark.parametrize("settings", [{"token_budget": 0.2}, {"token_budget": 1.0}])
def test_answers_are_those_of_both_backends(
    small_checkpoint: Path,
    tmp_path: Path,
    explainer: Explainer,
    settings: dict[str, float],
) -> None:
    """Also where nothing is dropped and the model's own newlines are needed."""
    chosen = reduction(**settings)
    halves, image = Halves(small_checkpoint), picture(90, 112)
    policy = "all" if chosen.token_budget == 1 else "none"
    requests = halves.requests([image], [PROMPT], chosen, policy)
    (expected,) = halves.generate(requests, max_new_tokens=64)
    image.save(tmp_path / "a.png")
    html = explainer.page({"a": (tmp_path / "a.png").read_bytes()}, PROMPT, [chosen])
    said = html.partition('<span class="said">')[2].partition("</span>")[0]
    assert expected.text.strip() and said == escaped(expected.text)


def escaped(text: str) -> str:
    pairs = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"}
    return "".join(pairs.get(letter, letter) for letter in text)


def test_what_is_dropped_is_dimmed_and_what_is_padding_blank() -> None:
    """2 x 2 patches of 14 pixels, shown twice as large: kept, dropped, padding, kept."""
    pixels = np.full((3, 28, 28), 200, dtype=np.uint8)
    keep, valid = np.array([True, False, False, True]), np.array([True, True, False, True])
    shown = np.asarray(paint_kept(pixels, keep, valid, 56)).astype(int)
    middles = shown[14::28, 14::28]
    assert middles[0, 0].tolist() == middles[1, 1].tolist() == [200] * 3
    expected = (1 - DIMMED) * 200 + DIMMED * np.array(DIM)
    assert np.abs(middles[0, 1] - expected).max() <= 1
    assert middles[1, 0].min() > 220
    yellow = (shown == [255, 210, 63]).all(-1)
    assert yellow[:28, :28].sum() == 4 * 28 * 2 - 4 * 4  # all four sides, two pixels wide
    assert not yellow[:28, 28:].any() and not yellow[28:, :28].any()


@pytest.mark.parametrize("size", [(56, 112), (90, 112), (168, 56), (40, 168), (20, 190)])
def test_pictures_of_all_grids_fit_their_card(
    explainer: Explainer, size: tuple[int, int], tmp_path: Path
) -> None:
    """Content touches no border: the margins hold the card's own colour and nothing else."""
    picture(*size).save(tmp_path / "a.png")
    trace = explainer.tracer((tmp_path / "a.png").read_bytes(), [reduction()])
    card = draw_picture(
        picture(*size), trace, trace.selections[0], prompt=PROMPT, answer="a word " * 60
    )
    pixels = np.asarray(card)
    assert pixels[0, 0, 3] == 0 and pixels.shape[1] <= 1720
    margins = [pixels[30:-30, 4:50], pixels[30:-30, -50:-4], pixels[4:40, 30:-30]]
    assert all((part.reshape(-1, 4) == [248, 250, 252, 255]).all() for part in margins)


def test_read_image_names_what_is_missing() -> None:
    assert read_image(SAMPLE)[:4] == b"RIFF"
    with pytest.raises(ValueError, match=r"no file 'nowhere\.png'"):
        read_image("nowhere.png")
    with pytest.raises(ValueError, match="has rows 0 to 15, not '16'"):
        read_image(SAMPLE.replace("#8", "#16"))


def test_the_command_writes_picture_and_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown, page = tmp_path / "new" / "kept.png", tmp_path / "kept.html"
    flags = ("--methods", "average-pool,fastv", "--budgets", "0.1,0.2")
    assert main([SAMPLE, "--picture", str(shown), "--page", str(page), *flags]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"wrote {page}: 1 image, 2 methods, to be opened in a browser",
        f"wrote {shown}: {SAMPLE} with average-pool at a budget of 0.2",
    ]
    with Image.open(shown) as image:
        assert image.format == "PNG" and image.width > 1000
    assert shown.stat().st_size < 200_000
    html = page.read_text()
    assert 'data-method="average-pool"' in html and 'data-method="dense"' in html
    assert 'data-method="hired"' not in html and "Which those are depends" in html
    assert "red ring" in html and "samples-00.parquet#8, 392 x 392 pixels" in html


def test_answers_of_a_method_inside_the_language_model_are_its_own(
    small_checkpoint: Path, explainer: Explainer, tmp_path: Path
) -> None:
    """Not those of what goes in."""
    chosen = reduction(method="fastv", token_budget=3)
    picture(90, 112).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    html = explainer.page({"a": data}, PROMPT, [chosen, reduction(token_budget=1.0)])
    said, dense = (part.partition("</span>")[0] for part in html.split('<span class="said">')[1:3])
    alone = hired_core.load(small_checkpoint, settings=chosen).ask(data, PROMPT).text
    assert said == escaped(alone) and said != dense


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--methods", "hird"), "no 'hird'; there are distinct"),
        (("--methods", "dense"), "none but the dense model"),
        (("--budgets", "a lot"), "a lot"),
    ],
)
def test_methods_and_budgets_that_are_none_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], told: str
) -> None:
    assert main([SAMPLE, "--page", str(tmp_path / "kept.html"), *flags]) == 2
    assert told in capsys.readouterr().err


def test_the_command_says_in_one_line_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("no image")
    assert main([str(tmp_path / "a.txt"), "--page", str(tmp_path / "kept.html")]) == 2
    told = capsys.readouterr().err
    assert told.startswith("explain: plain text") and told.count("\n") == 1
