"""`hired verify`: an output checked from its files, and mended."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from pipeline.ledger.identity import load_identity
from pipeline.ledger.lease import new_run_id
from pipeline.parts.merge_journal import MERGING
from pipeline.parts.sink import ROW_KINDS, Sink
from pipeline.rows.errors import EXIT_DONE, EXIT_FAILED, ConfigError, JobError
from pipeline.settings.config import OutputConfig
from pipeline.sources import redact_url
from pipeline.verify.check import Findings, check
from pipeline.verify.merge_parts import merge_parts
from pipeline.verify.repair import repair

SHOWN = 20

DESCRIPTION = """Check an output from its files alone: every part readable and holding the rows its
metadata names, every row once, the ledger in agreement with the parts, nothing left behind by
killed writers. Shards that a run has begun and not finished are told, and are no defect."""
EPILOG = """Exit codes: 0 all is well (after --repair: is now), 1 there are defects, 2 bad
arguments. What --repair cannot bring back, the next run of the job does again."""


def main(argv: Sequence[str]) -> int:
    """Returns the exit code. Errors are one line on stderr."""
    arguments = _parser().parse_args(argv)
    try:
        sink = Sink(url=arguments.output, storage_options=_options(arguments.storage_options))
        if load_identity(sink) is None and not any(sink.parts(kind) for kind in ROW_KINDS):
            raise ConfigError(f"output: there are no results at {redact_url(sink.url)}")
        found = check(sink)
        _tell(found)
        if arguments.compact and _only_unmerged(found):
            _compact(sink, arguments.rows_per_part)
            found = check(sink)
            _tell(found)
        if arguments.repair and any(found.problems()):
            repair(sink, found, new_run_id(), sys.stderr)
            found = check(sink)
            print("after repair:")
            _tell(found)
    except JobError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return exc.exit_code
    return EXIT_FAILED if any(found.problems()) else EXIT_DONE


def _only_unmerged(found: Findings) -> bool:
    """Nothing is wrong, unless an earlier merging was killed."""
    return all(where == MERGING for _, where, _ in found.problems())


def _compact(sink: Sink, rows_per_part: int) -> None:
    done = merge_parts(sink, new_run_id(), rows_per_part, sys.stderr)
    what = f"{done.before:,} small parts are {done.after:,} now" if done.before else "nothing to do"
    print(f"after compaction: {what}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hired verify", description=DESCRIPTION, epilog=EPILOG)
    parser.add_argument("output", help="folder or URL prefix that was a job's --output")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="remove temporaries and doubled rows, set damaged parts aside in damaged/, and make "
        "the ledger agree with the parts",
    )
    parser.add_argument(
        "--compact",
        action="store_true",
        help="where all is well, merge small parts with equal columns (fewer than half of "
        "--rows-per-part rows) up to that size; being killed loses nothing, and the next run of "
        "the job or of this ends it",
    )
    parser.add_argument(
        "--rows-per-part",
        type=_positive,
        default=OutputConfig.rows_per_part,
        metavar="N",
        help="rows of a merged part, at most (%(default)s)",
    )
    parser.add_argument(
        "--storage-options",
        default="{}",
        metavar="JSON",
        help="arguments for the fsspec filesystem; credentials belong in the environment",
    )
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}, allowed: 1 or more")
    return int(text)


def _options(text: str) -> dict[str, Any]:
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError) as exc:
        raise ConfigError("storage_options: not a JSON object") from exc


def _tell(found: Findings) -> None:
    problems = list(found.problems())
    for kind, where, what in problems[:SHOWN]:
        print(f"{kind:>18}  {redact_url(where)} {what}")
    if len(problems) > SHOWN:
        print(f"{'':>18}  and {len(problems) - SHOWN} more")
    unfinished = f", {len(found.incomplete)} shards unfinished" if found.incomplete else ""
    verdict = f"{len(problems)} defects" if problems else "all is well"
    print(f"{found.num_rows:,} rows in {found.num_parts:,} parts{unfinished}: {verdict}")
