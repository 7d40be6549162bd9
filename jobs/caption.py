"""Caption images: `python jobs/caption.py --input 's3://corpus/*.tar' --output s3://captions`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.job.session import main
from pipeline.settings.config import CaptionConfig

DESCRIPTION = """Caption images with a high-resolution vision-language model at a fixed budget of
visual tokens (HiRED). Every input row ends in captions/ or quarantine/ under --output.
Exit codes: 0 done, 1 failed, 2 bad configuration or input, 3 too many bad rows."""

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], CaptionConfig, DESCRIPTION))
