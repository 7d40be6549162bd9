"""Answer questions: `python jobs/vqa.py --input 'data/*.parquet' --output answers`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.job.session import main
from pipeline.settings.config import QuestionConfig

DESCRIPTION = """Answer the questions in a column about each image, with a high-resolution
vision-language model at a fixed budget of visual tokens (HiRED). Every question ends in captions/
or quarantine/ under --output; an image with several questions is encoded once.
Exit codes: 0 done, 1 failed, 2 bad configuration or input, 3 too many bad rows."""

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], QuestionConfig, DESCRIPTION))
