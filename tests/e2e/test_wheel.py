"""The wheel alone, in an environment of its own and away from the checkout, captions an image."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.e2e.command import ROOT

LIMIT = 4


def run(*command: str | Path, cwd: Path, timeout_sec: float) -> str:
    """What a command prints, without this process's Ray and Python path."""
    hidden = ("RAY_", "PYTHON")
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={k: v for k, v in os.environ.items() if not k.startswith(hidden)},
        capture_output=True,
        text=True,
        timeout=timeout_sec,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of the tracked files alone, so that nothing left in the checkout gets into it."""
    folder = tmp_path_factory.mktemp("source")
    listed = run("git", "ls-files", "-z", cwd=ROOT, timeout_sec=30)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    built = tmp_path_factory.mktemp("wheel")
    build = ("-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "--quiet")
    run(sys.executable, *build, "--wheel-dir", built, cwd=folder, timeout_sec=120)
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel; dependencies are this environment's.

    They are seen through a .pth file, which adds their folder to the path but runs none of the .pth
    files in it: this environment's editable install of the project stays unseen.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    pip = (sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "--quiet")
    run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=folder, timeout_sec=60)
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "dependencies.pth").write_text("".join(f"{path}\n" for path in sorted(paths)))
    return folder


def test_it_holds_what_it_needs_and_no_more(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for needed in (
        "hired_core/embedded/model.safetensors",
        "lab/demo/demo.yaml",
        "lab/demo/samples/parquet/samples-00.parquet",
        "lab/demo/samples/webdataset/samples-01.tar",
        "lab/evaluation/page/style.css",
        "lab/evaluation/page/script.js",
    ):
        assert needed in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"hired_core", "lab", "pipeline"}


def test_it_captions_from_any_folder(environment: Path, tmp_path: Path) -> None:
    python, hired = environment / "bin" / "python", environment / "bin" / "hired"
    asked = "import hired_core, lab.demo; print(hired_core.__file__); print(lab.demo.SAMPLES)"
    home, samples = run(python, "-c", asked, cwd=tmp_path, timeout_sec=30).splitlines()
    assert Path(home).is_relative_to(environment) and Path(samples).is_relative_to(environment)
    assert "caption" in run(hired, "--help", cwd=tmp_path, timeout_sec=30)

    shard = tmp_path / "pictures.parquet"
    shard.write_bytes((Path(samples) / "parquet" / "samples-00.parquet").read_bytes())
    job = ("--input", shard.name, "--output", "out", "--limit", LIMIT, "--max-new-tokens", 16)
    printed = run(hired, "caption", *map(str, job), cwd=tmp_path, timeout_sec=240)
    assert "per 1000 images" in printed
    parts = (tmp_path / "out" / "captions").glob("*.parquet")
    rows = [row for part in parts for row in pq.read_table(part).to_pylist()]
    assert len(rows) == LIMIT
    assert all(row["text"].strip() and row["shard"] == shard.name for row in rows)
