"""A report of an output on S3, written to S3."""

from __future__ import annotations

import json

import pytest

from pipeline.job.commands import report
from tests.integration.test_export_s3 import captioned
from tests.support.reported import Page
from tests.support.s3_server import S3Server, s3

__all__ = ["s3"]


def test_an_output_on_s3_is_looked_at_there(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    captioned(s3)
    options = ["--storage-options", json.dumps(s3.storage_options)]
    assert report(["s3://exporting/out", "--html", "s3://exporting/pages/one.html", *options]) == 0
    page = Page(s3.filesystem().cat_file("exporting/pages/one.html").decode())
    assert "day/a.tar#3" in page.text and "loose/5.png" in page.text
    assert len(list(page.all("img"))) == 6
    assert "test-secret" not in page.html
