"""`make demo`: caption the shipped samples, then show how true the captions are.

Runs `jobs/caption.py --config configs/demo.yaml` and compares its output with what the samples'
renderer knows. Writes out/demo/index.html, a page of all images with their captions.
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pipeline.config import CaptionConfig
from pipeline.evaluation.gallery import compare, load_samples, overall_f1, page
from pipeline.session import main
from pipeline.sink import Sink

OUTPUT = Path("out/demo")
SHOWN = 6


def show() -> None:
    """Print a few captions and the overall score; write the page."""
    compared = compare(Sink(url=str(OUTPUT)), load_samples(Path("samples")))
    print("\nSome of the captions, and what is true:")
    for item in compared[:: max(1, len(compared) // SHOWN)][:SHOWN]:
        truth = ", ".join(f"{colour} {shape}" for colour, shape in sorted(item.sample.objects))
        signs = "".join(f", sign {sign}" for sign in item.sample.signs)
        print(f"  {item.text}\n      true: {truth}{signs}")
    title = f"Coloured shapes named: F1 {overall_f1(compared):.2f} over {len(compared)} images"
    (OUTPUT / "index.html").write_text(page(compared, title), encoding="utf-8")
    print(f"{title}. See {OUTPUT / 'index.html'}")


if __name__ == "__main__":
    os.chdir(ROOT)
    code = main(["--config", "configs/demo.yaml", *sys.argv[1:]], CaptionConfig, __doc__ or "")
    if code == 0:
        show()
    sys.exit(code)
