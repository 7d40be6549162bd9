"""`make demo`: caption the shipped samples, then show how true the captions are.

Runs `jobs/caption.py --config configs/demo.yaml` and compares its output with what the samples'
renderer knows. Writes out/demo/index.html, a page of all images with their captions.
"""

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lab.evaluation.gallery import compare, load_samples, overall_f1, page
from pipeline.job.session import main
from pipeline.parts.sink import Sink
from pipeline.settings.config import CaptionConfig

SHOWN = 6


def show(output: Path) -> None:
    """Print a few captions and the overall score; write the page."""
    compared = compare(Sink(url=str(output)), load_samples(ROOT / "samples"))
    print("\nSome of the captions, and what is true:")
    for item in compared[:: max(1, len(compared) // SHOWN)][:SHOWN]:
        print(f"  {item.text}\n      true: {item.sample.caption}")
    title = f"Objects and texts named: F1 {overall_f1(compared):.2f} over {len(compared)} images"
    (output / "index.html").write_text(page(compared, title), encoding="utf-8")
    print(f"{title}. See {output / 'index.html'}")


def run() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="out/demo", help="folder for captions and the page")
    output = parser.parse_args().output
    os.chdir(ROOT)
    code = main(["--config", "configs/demo.yaml", "--output", output], CaptionConfig, "")
    if code == 0:
        show(Path(output))
    return code


if __name__ == "__main__":
    sys.exit(run())
