"""`hired train-embedded`: trains the embedded model, or does one stage of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from lab.training.config import TrainingConfig
from pipeline.command_line.cli import parse_sections
from pipeline.command_line.manual import Manual
from pipeline.rows.errors import EXIT_BAD_CONFIG, EXIT_DONE, ConfigError

__all__ = ["main"]

_STAGES: Final = ("shards", "vision", "language", "export", "measure")

_MANUAL: Final = Manual(
    command="train-embedded",
    usage="all|STAGE [OPTION]...",
    description="""\
Trains the embedded model. Every stage continues from its last checkpoint, on a GPU if there is one.
Checkpoints and training.log go to --folder.""",
    common=(
        *("recipe", "folder", "num_shards", "pictures_per_shard", "vision_minutes", "vision_batch"),
        *("vision_lr", "language_minutes", "language_batch", "language_lr", "checkpoint_sec"),
    ),
    more=f"""\
Stages: {", ".join(_STAGES)}; all of them in this order: all.
Recipe qwen2_vl has no stage measure: `hired evaluate --model FOLDER/model` does that.""",
)


def main(argv: Sequence[str]) -> int:
    """Returns the exit code; errors are one line on stderr."""
    stage, flags = (argv[0], argv[1:]) if argv and argv[0][:1] != "-" else ("", argv)
    try:
        config = parse_sections(flags, {"training": TrainingConfig}, _MANUAL)["training"]
        if stage not in ("all", *_STAGES):
            raise ConfigError(f"{stage or 'stage'}: choose all or one of {', '.join(_STAGES)}")
    except ConfigError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return EXIT_BAD_CONFIG
    # Seconds that help, and a line about a mistyped flag, do not wait for.
    from lab.training.stages import run_stages, stages_of

    there = list(stages_of(config))
    if stage not in ("all", *there):
        print(f"error: {stage}: {config.recipe} has {', '.join(there)}", file=sys.stderr)
        return EXIT_BAD_CONFIG
    run_stages(there if stage == "all" else [stage], config)
    return EXIT_DONE
