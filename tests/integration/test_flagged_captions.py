"""Flags, rejections and constraints of texts, as a job takes them from its flags."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.job.commands import export
from pipeline.rows.errors import EXIT_BAD_CONFIG, EXIT_DONE, EXIT_TOO_MANY_BAD_ROWS
from tests.integration.job import caption
from tests.support.bad_images import encode, picture

pytestmark = pytest.mark.usefixtures("cluster")


def test_what_is_rejected_is_captioned_when_it_is_no_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every caption of eight tokens that may not stop before the eighth is truncated."""
    (tmp_path / "in").mkdir()
    for i in range(3):
        (tmp_path / "in" / f"{i}.png").write_bytes(encode(picture(size=(40 + i, 60)), "PNG"))
    inputs, output = [str(tmp_path / "in")], tmp_path / "out"
    least = ("--min-new-tokens", "8", "--no-repeat-ngram-size", "2")
    bad = caption(inputs, output, *least, "--reject", "truncated,loop")
    assert bad.exit_code == EXIT_TOO_MANY_BAD_ROWS
    assert set(bad.ends().values()) == {"caption_rejected"} and len(bad.ends()) == 3
    assert all("truncated (at" in row["error_detail"] for row in bad.quarantine)
    assert bad.report["flags"] == {"truncated": 3}
    assert "flags  truncated 3" in capsys.readouterr().out
    good = caption(inputs, output, *least, "--retry-quarantined")
    assert good.exit_code == EXIT_DONE
    assert set(good.ends().values()) == {"ok"} and len(good.ends()) == 3
    for row in good.captions:
        assert (row["flags"], row["output_tokens"]) == (["truncated"], 8)
    assert caption(inputs, output).exit_code == EXIT_BAD_CONFIG
    assert "generation.min_new_tokens was 8, now None" in capsys.readouterr().err
    whole = ["--to", "txt", "--side-by-side", "link", "--where", "flags <> []"]
    assert export([str(output), *whole]) == EXIT_DONE
    texts = sorted((output / "exports/txt").glob("*.txt"))
    found = {f"{path.stem}.png": path.read_text().rstrip("\n") for path in texts}
    assert found == good.texts()
    assert (output / "exports/txt/2.png").read_bytes() == (tmp_path / "in/2.png").read_bytes()
