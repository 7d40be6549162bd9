"""A folder of 60 mixed files to captions: plan, report, screen and tables agree on every one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.rows.errors import EXIT_BAD_CONFIG, EXIT_DONE
from tests.integration.job import caption
from tests.support.mixed_folder import NUM_FILES, PASSED, SHARDS, write_mixed

pytestmark = pytest.mark.usefixtures("cluster")


def test_plan_report_and_tables_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = write_mixed(tmp_path / "in")
    there = sum(len(files) for _, _, files in os.walk(tmp_path / "in"))
    assert there + len([tmp_path / "in/linked", tmp_path / "in/_sub/up"]) == NUM_FILES
    inputs, output = [str(tmp_path / "in")], tmp_path / "out"

    assert caption(inputs, output, "--dry-run").exit_code == EXIT_DONE
    plan = capsys.readouterr().out
    passed = ", ".join(f"{count} {why}" for why, count in PASSED.items())
    assert f"passed over  {passed}" in plan
    assert f"input  {SHARDS} shards (4 folders of images, 1 parquet, 9 webdataset)" in plan

    found = caption(inputs, output, "--max-error-rate", "0.5")
    assert found.exit_code == EXIT_DONE
    assert found.ends() == expected
    rows = [*found.captions, *found.quarantine]
    assert len({row["shard"] for row in rows}) == SHARDS == found.report["shards"]
    assert all(row["image_id"] == _id_of(row) for row in rows)
    codes = [code for code in expected.values() if code != "ok"]
    assert found.report["quarantined_by_code"] == {code: codes.count(code) for code in codes}
    assert (found.report["rows"], found.report["quarantined"]) == (len(expected), len(codes))
    assert found.report["passed_over"] == PASSED
    screen = capsys.readouterr()
    assert f"passed over  {passed}" in screen.out and f"passed over: {passed}" in screen.err

    assert caption(inputs, output, "--max-error-rate", "0.5").exit_code == EXIT_DONE
    assert "nothing to do: 14 shards are complete" in capsys.readouterr().out
    assert caption(inputs, output, "--unknown", "refuse").exit_code == EXIT_BAD_CONFIG
    assert "unknown: the input holds 3 .xyz, 1 README.md" in capsys.readouterr().err


def _id_of(row: dict[str, str]) -> str:
    """As docs/output.md says it."""
    shard, key = row["shard"], row["key"]
    return f"{shard.removeprefix('./')}{key}" if shard.endswith("/") else f"{shard}#{key}"
