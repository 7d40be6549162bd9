"""`hired demo`: caption the shipped samples, then show how true the captions are.

Does what `hired caption --config demo.yaml` does and compares the captions with what the samples'
renderer knows. Writes index.html under the output, a page of all images with their captions.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lab.demo import SAMPLES
from pipeline.command_line.manual import program
from pipeline.job.commands import caption

__all__ = ["main"]

_SETTINGS: Final = Path(__file__).with_name("demo.yaml")
_SHOWN: Final = 6


def main(argv: Sequence[str]) -> int:
    """Returns the exit code of the job."""
    parser = argparse.ArgumentParser(prog=program("demo"), description=__doc__, allow_abbrev=False)
    parser.add_argument("--output", default="out/demo", help="folder for captions and the page")
    output = parser.parse_args(argv).output
    job = ["--config", str(_SETTINGS), "--input", str(SAMPLES), "--output", output]
    code = caption(job)
    if code == 0:
        show(Path(output))
    return code


def show(output: Path) -> None:
    """Print a few captions and the overall score; write the page."""
    from lab.evaluation.gallery import compare, load_samples, overall_f1, page
    from pipeline.parts.sink import Sink

    compared = compare(Sink(url=str(output)), load_samples(SAMPLES))
    print("\nSome of the captions, and what is true:")
    for item in compared[:: max(1, len(compared) // _SHOWN)][:_SHOWN]:
        print(f"  {item.text}\n      true: {item.sample.caption}")
    title = f"Objects and texts named: F1 {overall_f1(compared):.2f} over {len(compared)} images"
    (output / "index.html").write_text(page(compared, title), encoding="utf-8")
    print(f"{title}. See {output / 'index.html'}")
