"""Caption images: `python jobs/caption.py --input 's3://corpus/*.tar' --output s3://captions`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab.command import main

if __name__ == "__main__":
    sys.exit(main(["caption", *sys.argv[1:]]))
