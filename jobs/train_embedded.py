"""Train the embedded model: `python jobs/train_embedded.py all`, or one stage of it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab.command import main

if __name__ == "__main__":
    sys.exit(main(["train-embedded", *sys.argv[1:]]))
