"""Look at outputs: `python jobs/report.py s3://captions/2026-11-20 --html report.html`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab.command import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))
