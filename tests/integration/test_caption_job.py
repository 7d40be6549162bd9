"""The whole job on a local cluster, with the shipped model and real files."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save_file

from lab.demo import SAMPLES
from lab.evaluation.gallery import load_samples
from pipeline.rows.errors import EXIT_BAD_CONFIG, EXIT_DONE, EXIT_TOO_MANY_BAD_ROWS
from tests.integration.job import Result, answer, caption
from tests.support.bad_inputs import write_image_folder, write_parquet, write_webdataset
from tests.support.checkpoints import build_checkpoint
from tests.support.s3_server import S3Server, s3

CAPTION_COLUMNS = [
    *("image_id", "shard", "key", "sha256", "width", "height", "prompt_name", "prompt", "text"),
    *("finish_reason", "flags", "image_notes", "num_partitions", "visual_tokens_dense"),
    *("visual_tokens_kept", "partition_budgets", "prompt_tokens", "output_tokens"),
    *("duplicate_of", "duplicate_distance", "phash", "model", "method", "token_budget"),
    *("fingerprint", "run_id"),
]
pytestmark = pytest.mark.usefixtures("cluster")
__all__ = ["s3"]


def images(count: int) -> list[bytes]:
    """The first `count` good sample images."""
    return [sample.image for sample in load_samples(SAMPLES).values()][:count]


def write_five_kinds(folder: Path, pictures: list[bytes]) -> None:
    """The same images as Parquet bytes and structs, tar, loose files and a dataset on disk."""
    struct = [{"bytes": data, "path": None} for data in pictures]
    _write_parquet(folder / "bytes" / "a.parquet", pa.array(pictures, pa.binary()))
    _write_parquet(folder / "struct" / "a.parquet", pa.array(struct))
    (folder / "tar").mkdir()
    with tarfile.open(folder / "tar" / "a.tar", "w") as tar:
        for index, data in enumerate(pictures):
            _add(tar, f"{index}.jpeg", data)
    (folder / "loose").mkdir()
    for index, data in enumerate(pictures):
        (folder / "loose" / f"{index}.png").write_bytes(data)
    datasets.Dataset.from_dict({"image": struct}).save_to_disk(str(folder / "hf"))


def _write_parquet(path: Path, column: pa.Array) -> None:
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"image": column}), path)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def test_five_input_kinds_give_identical_captions(tmp_path: Path) -> None:
    pictures = images(6)
    write_five_kinds(tmp_path / "in", pictures)
    result = caption([str(tmp_path / "in")], tmp_path / "out")
    assert result.exit_code == EXIT_DONE
    assert len(result.captions) == 5 * len(pictures)
    by_kind: dict[str, list[tuple[str, str]]] = {}
    for row in result.captions:
        by_kind.setdefault(row["shard"].split("/")[0], []).append((row["sha256"], row["text"]))
    assert set(by_kind) == {"bytes", "struct", "tar", "loose", "hf"}
    assert len({tuple(sorted(pairs)) for pairs in by_kind.values()}) == 1


def test_s3_in_and_out(tmp_path: Path, s3: S3Server) -> None:
    pictures = images(4)
    write_five_kinds(tmp_path / "in", pictures)
    s3.put("s3://corpus/day/a.tar", (tmp_path / "in" / "tar" / "a.tar").read_bytes())
    s3.put("s3://corpus/day/b.parquet", (tmp_path / "in" / "struct" / "a.parquet").read_bytes())
    result = caption(
        ["s3://corpus/day/*.tar", "s3://corpus/day/*.parquet"],
        "s3://corpus/out",
        **s3.storage_options,
    )
    assert result.exit_code == EXIT_DONE
    local = caption([str(tmp_path / "in" / "tar")], tmp_path / "out").texts()
    assert {k.split("#")[1]: v for k, v in result.texts().items() if "tar" in k} == {
        k.split("#")[1]: v for k, v in local.items()
    }
    assert sorted(result.ends()) == sorted(
        f"{shard}#{i}" for shard in ("a.tar", "b.parquet") for i in range(4)
    )


def test_bad_shards_are_quarantined_and_nothing_is_lost(tmp_path: Path) -> None:
    """Every case of DESIGN.md section 10 in tars and Parquet files, with questions."""
    unpickled = tmp_path / "unpickled"
    for name in ("tars", "parquet"):
        (tmp_path / "in" / name).mkdir(parents=True)
    tars = write_webdataset(tmp_path / "in" / "tars", unpickled=unpickled, questions=True)
    tables = write_parquet(tmp_path / "in" / "parquet", questions=True)
    expected = {f"tars/{image_id}": end for image_id, end in tars.items()}
    expected |= {f"parquet/{image_id}": end for image_id, end in tables.items()}
    result = answer([str(tmp_path / "in")], tmp_path / "out", "--id-column", "id")
    check_ends(result, expected)
    assert not unpickled.exists()


def test_bad_loose_images_are_quarantined(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    expected = write_image_folder(tmp_path / "in")
    check_ends(caption([str(tmp_path / "in")], tmp_path / "out"), expected)


def check_ends(result: Result, expected: dict[str, str]) -> None:
    assert result.ends() == expected
    assert len(result.captions) + len(result.quarantine) == len(expected)
    assert result.exit_code == EXIT_TOO_MANY_BAD_ROWS
    assert result.report["rows"] == len(expected)
    assert all(row["error_stage"] and row["error_detail"] for row in result.quarantine)


def test_several_questions_encode_the_image_once(tmp_path: Path) -> None:
    pictures = images(3)
    questions = [["What is it?", "How many?", None], ["Is it red?"], []]
    table = pa.table(
        {
            "image": pa.array(pictures, pa.binary()),
            "question": pa.array(questions, pa.list_(pa.string())),
        }
    )
    (tmp_path / "in").mkdir()
    pq.write_table(table, tmp_path / "in" / "q.parquet")
    result = answer([str(tmp_path / "in")], tmp_path / "out", "--max-error-rate", "0.5")
    assert result.exit_code == EXIT_DONE
    assert result.ends() == {
        "q.parquet#0#q0": "ok",
        "q.parquet#0#q1": "ok",
        "q.parquet#0#q2": "prompt_missing",
        "q.parquet#1#q0": "ok",
        "q.parquet#2": "prompt_missing",
    }
    prompts = {row["image_id"]: row["prompt"] for row in result.captions}
    assert prompts["q.parquet#0#q1"] == "How many?"
    select = [row for row in result.stats if row["stage"] == "select"]
    kept = {row["image_id"]: row["visual_tokens_kept"] for row in result.captions}
    assert sum(row["visual_tokens_kept"] for row in select) == kept["q.parquet#0#q0"] * 2


def test_output_is_what_design_says(tmp_path: Path) -> None:
    """Columns, types, report, statistics; and other tools read it."""
    result = caption([str(SAMPLES / "parquet")], tmp_path / "out", "--limit", "20")
    assert result.exit_code == EXIT_DONE
    assert len(result.captions) + len(result.quarantine) == 20
    loaded = datasets.load_dataset(
        "parquet",
        data_files=str(tmp_path / "out" / "captions" / "*.parquet"),
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    assert loaded.column_names == CAPTION_COLUMNS
    assert sorted(loaded["text"]) == sorted(row["text"] for row in result.captions)
    assert all(sum(r["partition_budgets"]) == r["visual_tokens_kept"] for r in result.captions)
    assert {row["stage"] for row in result.stats} == {
        "read",
        "partition",
        "select",
        "generate",
        "write",
    }
    report = result.report
    assert report["rows"] == 20
    assert report["usd_per_1000_images"] == pytest.approx(
        1000 * report["wall_sec"] / 3600 * 2 * report["cpu_hour_usd"] / report["images"]
    )
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report
    kept = tmp_path / "out" / "reports" / f"{report['run_id']}.json"
    assert json.loads(kept.read_text()) == report


def test_split_placement_gives_the_same_texts(tmp_path: Path) -> None:
    source = [str(SAMPLES / "webdataset" / "samples-00.tar")]
    fused = caption(source, tmp_path / "fused", "--limit", "10")
    split = caption(
        source, tmp_path / "split", "--limit", "10", "--placement", "split", "--batch-size", "3"
    )
    assert split.exit_code == fused.exit_code == EXIT_DONE
    assert split.texts() == fused.texts()
    assert split.report["fingerprint"] == fused.report["fingerprint"]


def test_storage_that_fails_stops_the_job_with_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "captions").write_text("a file where a folder should be")
    source = [str(SAMPLES / "parquet" / "samples-00.parquet")]
    result = caption(source, tmp_path / "out", "--limit", "2")
    assert result.exit_code == 1
    error = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(error) == 1
    assert "cannot write" in error[0]


def test_an_incomplete_checkpoint_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Found only where the weights are loaded: in an actor."""
    folder = build_checkpoint(tmp_path / "model", seed=3)
    weights = load_file(folder / "model.safetensors")
    del weights[next(name for name in weights if name.endswith("lm_head.weight"))]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    source = [str(SAMPLES / "parquet" / "samples-00.parquet")]
    result = caption(source, tmp_path / "out", "--limit", "2", "--model", str(folder))
    assert result.exit_code == EXIT_BAD_CONFIG
    error = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(error) == 1
    assert "lm_head.weight" in error[0]
    assert not result.captions
