"""Answer questions: `python jobs/vqa.py --input 'data/*.parquet' --output answers`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab.command import main

if __name__ == "__main__":
    sys.exit(main(["vqa", *sys.argv[1:]]))
