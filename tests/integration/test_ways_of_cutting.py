"""Ways of cutting images, as a job takes them from its flags."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from pipeline.rows.errors import EXIT_BAD_CONFIG, EXIT_DONE
from tests.integration.job import caption
from tests.support.bad_images import encode, picture

pytestmark = pytest.mark.usefixtures("cluster")


def test_a_photograph_too_large_to_decode_whole_is_captioned_reduced(tmp_path: Path) -> None:
    """6000 x 6000 pixels take 144 MB, and an eighth of either side next to nothing."""
    (tmp_path / "in").mkdir()
    photograph = Image.new("RGB", (6000, 6000), "red")
    (tmp_path / "in" / "large.jpg").write_bytes(encode(photograph, "JPEG"))
    (tmp_path / "in" / "small.jpg").write_bytes(encode(picture(), "JPEG"))
    inputs, limits = [str(tmp_path / "in")], ("--max-decode-mib", "64", "--max-error-rate", "1")
    whole = caption(inputs, tmp_path / "whole", *limits)
    assert whole.ends() == {"large.jpg": "image_too_much_memory", "small.jpg": "ok"}
    for resize in ("exact", "fast"):
        flags = (*limits, "--reduced-decode", "--resize", resize)
        reduced = caption(inputs, tmp_path / resize, *flags)
        assert reduced.exit_code == EXIT_DONE
        assert reduced.ends() == {"large.jpg": "ok", "small.jpg": "ok"}
        sizes = {row["image_id"]: (row["width"], row["height"]) for row in reduced.captions}
        assert sizes == {"large.jpg": (6000, 6000), "small.jpg": (48, 32)}


def test_results_of_another_way_are_not_mixed_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(encode(picture(), "PNG"))
    assert caption([str(tmp_path / "a.png")], tmp_path / "out").exit_code == EXIT_DONE
    again = caption([str(tmp_path / "a.png")], tmp_path / "out", "--resize", "fast")
    assert again.exit_code == EXIT_BAD_CONFIG
    assert "resize was None, now 'fast'" in capsys.readouterr().err
