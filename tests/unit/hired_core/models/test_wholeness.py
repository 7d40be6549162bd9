"""A checkpoint with files missing or cut short is refused in one line before anything starts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError, safe_open

from hired_core.models.checkpoint import CheckpointError
from hired_core.models.registry import load_whole_spec
from lab.command import main
from tests.support.checkpoints import build_checkpoint

WEIGHTS = "model.safetensors"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 14000000\n"


@pytest.fixture
def folder(small_checkpoint: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(small_checkpoint, tmp_path / "copy"))


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def unlink(*names: str) -> Callable[[Path], None]:
    return lambda folder: [(folder / name).unlink() for name in names] and None


def pickled(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    torch.save({}, folder / "pytorch_model.bin")


def bare(folder: Path) -> None:
    for path in folder.iterdir():
        if path.name != "config.json":
            path.unlink()


CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no weights": (unlink(WEIGHTS), "no safetensors weights"),
    "pickles": (pickled, "only pytorch_model.bin, which are pickles"),
    "pointer": (lambda f: (f / WEIGHTS).write_bytes(POINTER), "run git lfs pull"),
    "empty": (lambda f: cut(f / WEIGHTS, 0), r"does not read as safetensors \(0 bytes\)"),
    "no header": (lambda f: cut(f / WEIGHTS, 100), "does not read as safetensors"),
    "cut short": (lambda f: cut(f / WEIGHTS, 90_000), "has 90,000 bytes, its header tells of"),
    "text": (lambda f: (f / WEIGHTS).write_text("<html>Not found</html>"), "does not read"),
    "no tokenizer": (unlink("tokenizer.json"), r"no tokenizer \(tokenizer\.json or"),
    "no processor": (unlink("processor_config.json"), "no image processor"),
    "bare": (bare, "no safetensors weights; no tokenizer .*; no image processor"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_missing_is_named_in_one_line(name: str, folder: Path) -> None:
    damage, told = CASES[name]
    damage(folder)
    with pytest.raises(CheckpointError, match=told) as caught:
        load_whole_spec(str(folder))
    assert "\n" not in str(caught.value)
    assert folder.name in str(caught.value)


def test_lost_shards_are_counted(tmp_path: Path) -> None:
    sharded = build_checkpoint(tmp_path, seed=1, shard_size="200KB")
    shards = sorted(sharded.glob("*.safetensors"))
    for path in shards[1:6]:
        path.unlink()
    names = ", ".join(path.name for path in shards[1:4])
    told = f"lacks {names} and 2 more of the {len(shards)} files of weights"
    with pytest.raises(CheckpointError, match=told):
        load_whole_spec(str(sharded))


@pytest.mark.parametrize("missing", [1, 1000])
def test_files_that_pass_are_those_that_safetensors_opens(missing: int, folder: Path) -> None:
    path = folder / WEIGHTS
    load_whole_spec(str(folder))
    cut(path, path.stat().st_size - missing)
    with pytest.raises(SafetensorError), safe_open(path, framework="pt"):
        pass
    with pytest.raises(CheckpointError, match=r"its header tells"):
        load_whole_spec(str(folder))


def test_the_dry_run_looks(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / WEIGHTS).unlink()
    flags = ["--input", "samples", "--output", str(tmp_path / "out"), "--model", str(folder)]
    assert main(["caption", *flags, "--dry-run"]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: model: the checkpoint copy is not whole: no safetensors")
    assert errors.count("\n") == 1
