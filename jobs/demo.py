"""`make demo`: caption the shipped samples, then show how true the captions are."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab.command import main

if __name__ == "__main__":
    sys.exit(main(["demo", *sys.argv[1:]]))
