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
    from lab.demo.demo_page import render_demo
    from lab.evaluation.gallery import compare, load_samples, overall_f1
    from pipeline.parts.sink import REPORT, Sink

    sink = Sink(url=str(output))
    compared = compare(sink, load_samples(SAMPLES))
    print("\nSome of the captions, and what is true:")
    for item in compared[:: max(1, len(compared) // _SHOWN)][:_SHOWN]:
        print(f"  {item.text}\n      true: {item.sample.caption}")
    columns = ["image_id", "error_code", "error_detail"]
    lost = [row for table in sink.read("quarantine", columns) for row in table.to_pylist()]
    page = render_demo(
        compared, sorted(lost, key=lambda r: r["image_id"]), sink.get_json(REPORT) or {}
    )
    (output / "index.html").write_text(page, encoding="utf-8")
    print(f"Objects and texts named: F1 {overall_f1(compared):.2f} over {len(compared)} images")
    print(
        f"wrote {output / 'index.html'}: every image beside what is true, to be opened in a browser"
    )
