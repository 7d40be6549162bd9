"""Images that tables name by path and by URL through a whole job, and those worth a second try."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.rows.errors import EXIT_DONE
from tests.integration.job import caption
from tests.support.table_cases import write_cases
from tests.support.web_server import web_server

pytestmark = pytest.mark.usefixtures("cluster")

FLAGS = ("--fetch-private", "--fetch-retries", "0", "--carry", "alt", "--max-error-rate", "0.7")


def test_paths_and_urls_to_captions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_cases(tmp_path)
    inputs = [str(folder / name) for name in ("paths.parquet", "manifest.csv", "urls.csv")]
    flags = (*FLAGS, "--image-root", str(tmp_path))
    with web_server() as web:
        pages = ("good", "flaky/1", "html", "status/404")
        lines = [f"{web.url}/{page},page {i}" for i, page in enumerate(pages)]
        (folder / "urls.csv").write_text("\n".join(["url,alt", *lines]))
        found = caption(inputs, tmp_path / "out", *flags)
        assert found.exit_code == EXIT_DONE
        assert found.ends() == {
            "paths.parquet#0": "ok",
            "paths.parquet#1": "ok",
            "paths.parquet#2": "file_not_found",
            "manifest.csv#0": "ok",
            "manifest.csv#1": "ok",
            "urls.csv#0": "ok",
            "urls.csv#1": "url_server_error",
            "urls.csv#2": "image_is_html",
            "urls.csv#3": "url_not_found",
        }
        assert {row["image_id"]: row["alt"] for row in found.captions} == {
            "paths.parquet#0": "a circle",
            "paths.parquet#1": "a logo",
            "manifest.csv#0": "a circle, and a square",
            "manifest.csv#1": "a logo",
            "urls.csv#0": "page 0",
        }
        told = "worth a retry  1 quarantined row: run again with --retry-quarantined"
        assert told in capsys.readouterr().out

        asked = web.asked["/good"]
        again = caption(inputs, tmp_path / "out", *flags, "--retry-quarantined")
        assert again.ends()["urls.csv#1"] == "ok"
        assert web.asked["/good"] == asked, "what is captioned is not fetched again"
    assert "worth a retry" not in capsys.readouterr().out
