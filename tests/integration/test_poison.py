"""Images and rows that bring processes down, in a real job: each costs itself and nothing else."""

from __future__ import annotations

import io
import os
import signal
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

import pipeline.job.graph
from lab.demo import SAMPLES
from lab.evaluation.gallery import load_samples
from pipeline.ledger.work import Assignment
from pipeline.rows.errors import EXIT_DONE
from pipeline.rows.row import is_active
from pipeline.stages import GenerateStage, PartitionStage, ReadStage
from tests.integration.job import caption
from tests.support import poison
from tests.support.bad_images import GOOD
from tests.support.source_files import add_member

NUM_GOOD = 9
pytestmark = pytest.mark.usefixtures("cluster")


class PoisonablePartition(PartitionStage):
    """Decodes with `tests.support.poison`."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args, decoder=poison.FUNCTION)


class FatalGenerate(GenerateStage):
    """As a bug in native code would, without a word; or as a GPU whose context is lost."""

    def __call__(self, table: pa.Table) -> pa.Table:
        active = {row["key"] for row in table.to_pylist() if is_active(row)}
        if "fatal" in active:
            os.kill(os.getpid(), signal.SIGKILL)
        if "device" in active:
            raise torch.AcceleratorError("an illegal memory access was encountered")
        return super().__call__(table)


class FatalRead(ReadStage):
    """As a flaw in a native parser would."""

    def _tables(self, assignment: Assignment) -> Iterator[pa.Table]:
        for table in super()._tables(assignment):
            has_images = table["image"].null_count < table.num_rows
            if assignment.shard.name == "killer.tar" and has_images:
                os.kill(os.getpid(), signal.SIGKILL)
            yield table


def write_tar(path: Path) -> dict[str, str]:
    """Good images with poison among them; returns how each row must end."""
    images = [sample.image for sample in load_samples(SAMPLES).values()][:NUM_GOOD]
    samples = {f"good{i}": (data, "ok") for i, data in enumerate(images)}
    samples["fatal"] = (images[0], "row_kills_process")
    samples["device"] = (images[4], "row_kills_process")
    samples["segfault"] = (images[1] + poison.SEGFAULT, "image_kills_decoder")
    samples["memory"] = (images[2] + poison.MEMORY, "image_too_much_memory")
    samples["hang"] = (images[3] + poison.HANG, "image_timeout")
    order = ["good0", "segfault", "good1", "memory", "good2", "fatal", "hang", "device"]
    with tarfile.open(path, "w") as tar:
        for key in [*order, *(key for key in samples if key not in order)]:
            member = tarfile.TarInfo(f"{key}.jpg")
            member.size = len(samples[key][0])
            tar.addfile(member, io.BytesIO(samples[key][0]))
    return {f"{path.name}#{key}": end for key, (_, end) in samples.items()}


def test_poison_is_quarantined_and_everything_else_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline.job.graph, "PartitionStage", PoisonablePartition)
    monkeypatch.setattr(pipeline.job.graph, "GenerateStage", FatalGenerate)
    monkeypatch.setattr(pipeline.job.graph, "ReadStage", FatalRead)
    (tmp_path / "in").mkdir()
    expected = write_tar(tmp_path / "in" / "a.tar")
    with tarfile.open(tmp_path / "in" / "killer.tar", "w") as tar:
        add_member(tar, "one.jpg", GOOD)
    expected["killer.tar#!corrupt"] = "shard_kills_reader"
    result = caption(
        [str(tmp_path / "in")],
        tmp_path / "out",
        *("--decode-timeout-sec", "5", "--max-decode-mib", "64", "--max-error-rate", "0.5"),
    )
    assert result.ends() == expected, result.quarantine
    assert len(result.captions) + len(result.quarantine) == len(expected)
    assert result.exit_code == EXIT_DONE
    stages = {row["key"]: row["error_stage"] for row in result.quarantine}
    assert stages == {
        **dict.fromkeys(["segfault", "memory", "hang"], "partition"),
        **dict.fromkeys(["fatal", "device"], "generate"),
        "!corrupt": "read",
    }
    details = {row["key"]: row["error_detail"] for row in result.quarantine}
    assert "SIGSEGV" in details["segfault"]
    encoded = sum(row["num_images"] for row in result.stats if row["stage"] == "select")
    assert encoded == NUM_GOOD + 2
