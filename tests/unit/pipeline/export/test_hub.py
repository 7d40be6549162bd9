"""A dataset on its way to the Hub: what is asked of it, and what is said when it refuses.

The server is our own and knows the first request alone; no upload to the Hub is tried here.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from pipeline.job.commands import export
from tests.support.exports import Corpus, captioned

TOKEN = "hf_" + "secret" * 6


@dataclass
class Hub:
    url: str = ""
    status: int = 403
    asked: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    """Path, authorization and body of each request."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A server that refuses whatever is asked, and a client that asks it."""
    made = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.asked.append((self.path, self.headers["Authorization"], json.loads(body)))
            self.send_response(made.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", made.url)
        monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield made
        server.shutdown()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return captioned(tmp_path_factory.mktemp("hub"))


def words(corpus: Corpus, into: Path, *more: str) -> list[str]:
    named = ["--to", "hf-dataset", "--into", str(into), "--push-to-hub", "me/captions", *more]
    return [str(corpus.output), *named]


def test_a_private_dataset_is_asked_for_with_the_token(
    hub: Hub, corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(words(corpus, tmp_path / "set", "--private")) == 2
    (request,) = hub.asked
    path, authorization, body = request
    assert (path, authorization) == ("/api/repos/create", f"Bearer {TOKEN}")
    assert body["name"] == "captions" and body["organization"] == "me"
    assert body["type"] == "dataset" and "private" in (body.get("visibility"), *body)
    told = capsys.readouterr()
    assert "push_to_hub: the token may not write to me/captions (HTTP 403)" in told.err
    assert TOKEN not in told.out + told.err
    assert (tmp_path / "set/data/train-00000.parquet").exists()


def test_a_failing_hub_may_be_asked_again(
    hub: Hub, corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.status = 400
    for times in (1, 2):
        assert export(words(corpus, tmp_path / "set")) == 1
        assert len(hub.asked) == times
    told = capsys.readouterr()
    assert "the Hub answers HTTP 400" in told.err and TOKEN not in told.out + told.err
    assert "visibility" not in hub.asked[0][2]


def test_no_hub_can_be_reached(
    hub: Hub,
    corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:1")
    assert export(words(corpus, tmp_path / "set")) == 1
    told = capsys.readouterr().err
    assert "push_to_hub: cannot reach the Hub" in told and TOKEN not in told


def test_without_a_token_nothing_is_begun(
    hub: Hub,
    corpus: Corpus,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    assert export(words(corpus, tmp_path / "set")) == 2
    assert "there is no token; set HF_TOKEN" in capsys.readouterr().err
    assert not (tmp_path / "set").exists() and hub.asked == []


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--to", "jsonl", "--push-to-hub", "me/x"], "of --to hf-dataset only, not of jsonl"),
        (["--to", "hf-dataset", "--push-to-hub", "x"], "USER/NAME"),
        (["--to", "hf-dataset", "--private"], "private: of --push-to-hub only"),
        (
            ["--to", "hf-dataset", "--push-to-hub", "me/x", "--into", "s3://bucket/set"],
            "a folder of this machine; name one by --into",
        ),
    ],
)
def test_what_cannot_be_is_told(
    corpus: Corpus, more: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export([str(corpus.output), *more]) == 2
    assert told in capsys.readouterr().err
