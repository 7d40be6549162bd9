"""The first hour with a GPU; see --help and docs/gpu.md."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab.command import main

if __name__ == "__main__":
    sys.exit(main(["device-check", *sys.argv[1:]]))
