"""Write the sample shards anew: `python jobs/render_samples.py`. The same files every time."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab.rendering.command import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
