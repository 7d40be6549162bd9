"""Chaos runs: `python -m tests.chaos.run --runs 30 --rows 2000 --seed 1 [--only 17]`.

Prints for each run what was drawn, then how it went; ends with 1 if rows were lost or doubled in
any. `--only` repeats one run of a series with the same draws.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import ray

from tests.chaos.session import Draw, Session, chaos_run, draw, session


def main() -> int:
    options = _options()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # the S3 server's every request
    runs = [options.only] if options.only is not None else range(options.runs)
    # A shell's background jobs ignore SIGINT and hand that down: drivers must not.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the cluster ends as well
    results: list[dict[str, Any]] = []
    doubled = options.duplicates or options.everything
    with session(
        options.rows,
        options.seed,
        doubled=doubled,
        everything=options.everything,
        sec_per_row=options.sec_per_row,
    ) as series:
        for run in runs:
            results.append(_one(series, run))
            _store(options, results)
    print(_summary(results))
    return 0 if all(result["ok"] for result in results) else 1


def _summary(results: list[dict[str, Any]]) -> str:
    kills = sum(len(result["struck"]) for result in results)
    failed = ", ".join(result["run"] for result in results if not result["ok"]) or "none"
    unhurt = ", ".join(result["run"] for result in results if not result["struck"]) or "none"
    lost = [each for result in results for each in result["lost"]]
    seconds, rows = (max((each[key] for each in lost), default=0) for key in ("seconds", "rows"))
    most = f"the driver alone was struck {len(lost)} times: {seconds} s and {rows} rows at the most"
    return f"{len(results)} runs, {kills} kills, failed: {failed}, unhurt: {unhurt}; {most}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--sec-per-row", type=float, default=0.01, help="what a row takes a model's actor"
    )
    parser.add_argument("--only", type=int, help="repeat this run of the series alone")
    parser.add_argument(
        "--duplicates",
        action="store_true",
        help="double 40 %% of the images, and have them copied; the registry may be killed, too",
    )
    parser.add_argument(
        "--everything",
        action="store_true",
        help="as --duplicates, with two prompts, a template, carried columns, a form and flags; "
        "an export after each run is killed as well",
    )
    parser.add_argument("--output", type=Path, default=Path("out/chaos"), help="results and logs")
    return parser.parse_args()


def _one(series: Session, run: int) -> dict[str, Any]:
    # What is drawn first does not depend on the expected duration.
    fmt = draw(series.seed, run, series.num_rows, 0).fmt
    reference = series.reference(fmt)
    drawn = draw(
        series.seed,
        run,
        series.num_rows,
        reference.seconds,
        copies=series.doubled,
        everything=series.everything,
    )
    print(f"run {run} of seed {series.seed}: {_described(drawn)}", flush=True)
    result = chaos_run(series, f"run-{run}", drawn, reference)
    print(f"run {run}: {_told(result)}", flush=True)
    return result


def _described(drawn: Draw) -> str:
    kills = ", ".join(map(str, drawn.kills))
    where = f"{drawn.fmt} on {drawn.storage}"
    parts = f"{drawn.rows_per_part} rows or {drawn.part_sec:g} s a part"
    return f"{where}, {parts}, {drawn.language_actors} actors; {kills}"


def _told(result: dict[str, Any]) -> str:
    end = "ok" if result["ok"] else f"FAILED: {'; '.join(result['problems'])}"
    attempts = ", ".join(f"{c} ({s:.0f} s)" for c, s in _attempts(result))
    answered = f"{result['rows_answered']} of {result['rows']} rows answered"
    struck = "; ".join(result["struck"]) or "nothing"
    lost = "".join(f"; lost {e['rows']} rows, {e['seconds']} s" for e in result["lost"])
    return f"{end}; killed {struck}; exit codes {attempts}; {answered}{lost}"


def _attempts(result: dict[str, Any]) -> list[tuple[int, float]]:
    return list(zip(result["exit_codes"], result["seconds"], strict=True))


def _store(options: argparse.Namespace, results: list[dict[str, Any]]) -> None:
    """After every run, so that a series that is cut short has its results; logs of failures too."""
    options.output.mkdir(parents=True, exist_ok=True)
    if not results[-1]["ok"]:
        shutil.copy(results[-1]["log"], options.output)
    versions = {"python": platform.python_version(), "ray": ray.__version__}
    series = {
        "seed": options.seed,
        "rows": options.rows,
        "sec_per_row": options.sec_per_row,
        "duplicates": options.duplicates,
        "everything": options.everything,
        "versions": versions,
    }
    kept = [{key: value for key, value in r.items() if key != "log"} for r in results]
    content = json.dumps(series | {"runs": kept}, indent=2)
    (options.output / "chaos.json").write_text(content + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
