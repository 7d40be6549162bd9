"""The lines of docs/export.md that read an export back, run as they stand there."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest

from pipeline.job.commands import export
from tests.support.docs import ROOT, code_blocks
from tests.support.exports import Corpus, captioned

BLOCKS = [
    block.text
    for block in code_blocks((ROOT / "docs/export.md").read_text())
    if block.language == "python"
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Its output is called as in the page."""
    made = captioned(tmp_path_factory.mktemp("page"))
    output = made.output.rename(made.output.parent / "captions")
    for form in ("hf-dataset", "parquet", "webdataset"):
        assert export([str(output), "--to", form]) == 0
    return Corpus(made.root, output)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda text: text.split()[1])
def test_a_library_reads_it_as_the_page_says(
    corpus: Corpus,
    block: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(corpus.output.parent)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    exec(compile(block, "export.md", "exec"), {})
    assert "1 saw b" in capsys.readouterr().out
    assert len(list(filter(None, block.splitlines()))) <= 3


def test_the_page_has_the_libraries_that_users_have() -> None:
    libraries = ("datasets", "pandas", "duckdb", "webdataset")
    assert [name for name in libraries if not any(name in block for block in BLOCKS)] == []
    assert len(BLOCKS) == len(libraries)
