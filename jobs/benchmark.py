"""`make bench`: transformers and this engine side by side; see --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab.command import main

if __name__ == "__main__":
    sys.exit(main(["benchmark", *sys.argv[1:]]))
