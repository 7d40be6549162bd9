"""Which visual tokens are kept: `python jobs/explain.py photo.jpg --page out/kept.html`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab.command import main

if __name__ == "__main__":
    sys.exit(main(["explain", *sys.argv[1:]]))
