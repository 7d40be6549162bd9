"""A dataset sent to a server that speaks the Hub's commits and LFS, and what has arrived there.

It is not the Hub: Xet, which that prefers, is turned off.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import datasets
import huggingface_hub
import pytest

from pipeline.job.commands import export
from tests.support.exports import Corpus, captioned, colour
from tests.support.hub_upload_server import HubServer, hub_server

TOKEN = "hf_" + "secret" * 6
# The Hub's own library hands on a file in a way that its network library will drop.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
SENT = {"README.md", "data/train-00000.parquet", "data/train-00001.parquet"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with hub_server() as server:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield server


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return captioned(tmp_path_factory.mktemp("hub"))


def pushed(corpus: Corpus, into: Path, *more: str) -> int:
    named = ["--to", "hf-dataset", "--into", str(into), "--push-to-hub", "me/captions"]
    return export([str(corpus.output), *named, "--rows-per-file", "6", *more])


def test_what_arrives_is_the_dataset_and_nothing_else(
    hub: HubServer, corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "set/data").mkdir(parents=True)
    for name in ("notes.txt", "data/.train-00000.parquet.ab.tmp", "data/private.parquet"):
        (tmp_path / "set" / name).write_text("mine alone")
    assert pushed(corpus, tmp_path / "set") == 0
    assert "they are at the Hub as me/captions" in capsys.readouterr().out
    assert hub.files.keys() == SENT and len(hub.verified) == 2 and hub.commits == 1
    hub.write_to(tmp_path / "clone")
    cache = str(tmp_path / "cache")
    found = datasets.load_dataset(str(tmp_path / "clone"), cache_dir=cache, split="train")
    rows = corpus.captions()
    assert found["text"][:] == [rows[image_id]["text"] for image_id in found["image_id"]]
    assert len(found) == len(rows) and found[5]["image"].getpixel((0, 0)) == colour(6)


def test_what_is_there_is_not_sent_again(hub: HubServer, corpus: Corpus, tmp_path: Path) -> None:
    hub.failing["/api/datasets/me/captions/commit"] = 1
    assert pushed(corpus, tmp_path / "set") == 1
    assert hub.files == {} and len(hub.objects) == 2
    sent = len([one for one in hub.asked if one.startswith("PUT")])
    for _ in range(2):
        assert pushed(corpus, tmp_path / "set") == 0
    assert hub.files.keys() == SENT and hub.commits == 1
    assert sent == len([one for one in hub.asked if one.startswith("PUT")]) == 2


def test_an_earlier_dataset_of_that_name_is_replaced(
    hub: HubServer, corpus: Corpus, tmp_path: Path
) -> None:
    """Files of it that are left would be read as part of this one."""
    hub.files |= {"data/train-00007.parquet": b"old", "logo.png": b"theirs", ".gitattributes": b""}
    assert pushed(corpus, tmp_path / "set") == 0
    assert hub.files.keys() == SENT | {"logo.png", ".gitattributes"}


def test_where_there_is_no_caption_what_is_there_stays(
    hub: HubServer, corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.files["data/train-00000.parquet"] = b"of last night"
    assert pushed(corpus, tmp_path / "set", "--where", "false") == 2
    assert "there is no caption to send; me/captions is left as it is" in capsys.readouterr().err
    assert hub.files == {"data/train-00000.parquet": b"of last night"} and hub.made is None


def test_what_the_hub_says_of_a_file_is_told(
    hub: HubServer, corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.refused = "/objects/"
    assert pushed(corpus, tmp_path / "set") == 2
    told = capsys.readouterr().err
    assert "the token may not write to me/captions (HTTP 403)" in told and TOKEN not in told
