"""Every file in configs/ is read by the job it is for."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipeline.command_line.cli import parse_job
from pipeline.settings.config import CaptionConfig, QuestionConfig
from tests.support.checkpoints import EMBEDDED

FOLDER = EMBEDDED.parents[1] / "configs"
FILES = sorted(FOLDER.glob("*.yaml"))


def test_there_are_files_and_nothing_else() -> None:
    assert len(FILES) >= 4
    assert {path.suffix for path in FOLDER.iterdir()} == {".yaml"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_is_read_whole(path: Path) -> None:
    question = QuestionConfig if path.name.startswith("vqa") else CaptionConfig
    config = parse_job(["--config", str(path)], question, "")
    read = {}
    sections = (config.input, config.output, config.question, config.model)
    for section in (*sections, config.reduction, config.generation, config.run):
        read |= vars(section)
    written = yaml.safe_load(path.read_text())
    assert {key: read[key] for key in written} == written
