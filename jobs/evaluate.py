"""Accuracy against budget: `python jobs/evaluate.py --output out/evaluation`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab.evaluation.runner import main

DESCRIPTION = """Ask a vision-language model questions whose answers are known, with every method
at every budget of visual tokens, through the same pipeline as jobs/vqa.py; write how right it was,
with bootstrap intervals and paired differences, as results.md, results.json, samples.parquet and
accuracy.svg under --output, and page.html, examples with their kept tokens. Run again, it does what
is missing.

A first look: --num-samples 200 --budgets 0.1,0.2,1.0. A real model on a public benchmark:
--model llava-hf/llava-v1.6-vicuna-7b-hf --benchmark textvqa --input textvqa/*.parquet. The runs,
before they are started: --dry-run.
Exit codes: 0 done, 1 failed, 2 bad configuration or input, 3 too many bad rows."""

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], DESCRIPTION))
