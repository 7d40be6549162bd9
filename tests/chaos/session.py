"""One cluster, one S3 server and the corpora of a series of chaos runs."""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from tests.chaos.accounting import copies_wrong, in_vain, problems, texts_of
from tests.chaos.attempts import Job, Outcome, run_until_done
from tests.chaos.cluster import TwoNodes, two_nodes
from tests.chaos.corpus import Corpus, Format, write_corpus
from tests.chaos.exports import export_under_fire
from tests.chaos.killers import Extent, Kill, draw_kills
from tests.chaos.stand_in import ANSWERED, SEC_PER_ROW, answer_log
from tests.chaos.storage import Folder
from tests.support.checkpoints import build_checkpoint
from tests.support.s3_server import S3Server, s3_server

Storage = Literal["local", "s3"]
ROWS_PER_SHARD = 70
ON_ITS_WAY_SEC = 5.0
"""From an answer to the driver, and from there to the storage, on a machine that is busy."""
FORM = {"type": "object", "properties": {"mark": {"type": "string"}}, "required": ["mark"]}
PROMPTS = ("a=What is it?", "b=It is {{ 'numbered' if seen is not none else 'not' }}.")
MODEL = "model"
"""A small one of random weights: its vision tower runs as any does, and takes less time."""


@dataclass(frozen=True, kw_only=True)
class Draw:
    """All that chance decides about a run."""

    fmt: Format
    storage: Storage
    rows_per_part: int
    language_actors: int
    kills: tuple[Kill, ...]
    part_sec: float = 2.0
    copies: bool = False
    everything: bool = False

    @property
    def flags(self) -> tuple[str, ...]:
        parts, actors = str(self.rows_per_part), str(self.language_actors)
        flags: tuple[str, ...] = ("--rows-per-part", parts)
        flags += ("--language-actors", actors)
        flags += ("--part-sec", str(self.part_sec))
        if self.copies:
            flags += ("--duplicates", "copy")
        if self.everything:
            for prompt in PROMPTS:
                flags += ("--prompt", prompt)
            flags += ("--carry", "se*", "--min-words", "3")
        return flags


def draw(
    seed: int,
    run: int,
    num_rows: int,
    expected_sec: float,
    *,
    copies: bool = False,
    everything: bool = False,
) -> Draw:
    """The same for the same arguments; `expected_sec` scales moments in seconds, nothing else.

    Args:
        copies: whether duplicates are copied; then the registry may be killed, too.
        everything: whether there are two prompts, a template, carried columns, a form and flags,
            and an export after it, which is killed as well.
    """
    rng = random.Random(f"{seed}-{run}")
    rows_per_part = rng.choice((16, 64, 512))
    extent = Extent(seconds=expected_sec, rows=num_rows, parts=num_rows // rows_per_part)
    return Draw(
        fmt=rng.choice(("parquet", "webdataset")),
        storage=rng.choice(("local", "s3")),
        rows_per_part=rows_per_part,
        language_actors=rng.choice((1, 2)),
        kills=draw_kills(rng, extent, ("registry", "registry") if copies else ()),
        copies=copies,
        everything=everything,
        part_sec=rng.choice((0.5, 2.0)),
    )


@dataclass(kw_only=True)
class Reference:
    """An uninterrupted run."""

    texts: dict[str, str]
    seconds: float


@dataclass(kw_only=True)
class Session:
    """Makes corpora and reference runs as they are asked for, and keeps them."""

    folder: Path
    cluster: TwoNodes
    s3: S3Server
    num_rows: int
    seed: int
    doubled: bool = False
    everything: bool = False
    _corpora: dict[tuple[Format, Storage], Corpus] = field(default_factory=dict)
    _references: dict[Format, Reference] = field(default_factory=dict)

    def corpus(self, fmt: Format, storage: Storage) -> Corpus:
        if (fmt, storage) not in self._corpora:
            where = self._output(storage, f"corpus-{fmt}")
            corpus = write_corpus(
                where.url,
                fmt,
                num_rows=self.num_rows,
                num_shards=max(4, self.num_rows // ROWS_PER_SHARD),
                seed=self.seed,
                doubled=self.doubled,
                **where.options,
            )
            self._corpora[fmt, storage] = _asked_twice(corpus) if self.everything else corpus
        return self._corpora[fmt, storage]

    def reference(self, fmt: Format) -> Reference:
        """Of a run on local disk that nobody disturbs.

        Raises:
            RuntimeError: if not even that one ends well.
        """
        if fmt not in self._references:
            plain = Draw(
                fmt=fmt,
                storage="local",
                rows_per_part=64,
                language_actors=1,
                kills=(),
                everything=self.everything,
            )
            job = self.job(f"reference-{fmt}", plain, limit_sec=1800)
            outcome = run_until_done(job, self.cluster, ())
            wrong = outcome.problems + problems(job.output, job.corpus)
            if wrong:
                raise RuntimeError(f"the undisturbed run: {'; '.join(wrong)}; see {job.log}")
            texts = texts_of(job.output)
            self._references[fmt] = Reference(texts=texts, seconds=outcome.seconds[0])
        return self._references[fmt]

    def job(self, name: str, drawn: Draw, *, limit_sec: float) -> Job:
        output = self._output(drawn.storage, name)
        form = ("--schema", str(self.folder / "form.json")) if drawn.everything else ()
        return Job(
            corpus=self.corpus(drawn.fmt, drawn.storage),
            output=output,
            flags=("--model", str(self.folder / MODEL), *drawn.flags, *form),
            answered=answer_log(self.folder / "answered", output.url),
            log=self.folder / f"{name}.log",
            limit_sec=limit_sec,
        )

    def _output(self, storage: Storage, name: str) -> Folder:
        if storage == "local":
            return Folder(url=str(self.folder / name))
        return Folder(url=f"s3://chaos/{name}", options=self.s3.storage_options)


@contextmanager
def session(
    num_rows: int,
    seed: int,
    *,
    doubled: bool = False,
    everything: bool = False,
    sec_per_row: float = 0.0,
) -> Iterator[Session]:
    """Everything a run needs; gone with the block, but for the logs if it ends badly.

    Args:
        doubled: see `write_corpus`.
        everything: see `draw`.
        sec_per_row: what a row takes an actor.
    """
    # Not below pytest's own folder: paths of Unix sockets must stay under 108 characters.
    with (
        tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as name,
        s3_server() as s3,
    ):
        folder = Path(name)
        (folder / "answered").mkdir()
        (folder / "form.json").write_text(json.dumps(FORM))
        build_checkpoint(folder / MODEL, seed=seed)
        s3.filesystem().mkdir("chaos")
        environment = {
            ANSWERED: str(folder / "answered"),
            SEC_PER_ROW: str(sec_per_row),
            **s3.environment,
        }
        with two_nodes(folder, environment) as cluster:
            yield Session(
                folder=folder,
                cluster=cluster,
                s3=s3,
                num_rows=num_rows,
                seed=seed,
                doubled=doubled,
                everything=everything,
            )


def _asked_twice(corpus: Corpus) -> Corpus:
    """The rows of each prompt; what stands for the rest of a damaged shard is one row still."""
    names = [prompt.partition("=")[0] for prompt in PROMPTS]
    ends = {
        asked: end
        for row, end in corpus.ends.items()
        for asked in ([row] if row.endswith("#!corrupt") else [f"{row}#{n}" for n in names])
    }
    return replace(corpus, ends=ends, num_distinct=len(names) * corpus.num_distinct)


def check(job: Job, cluster: TwoNodes, outcome: Outcome, texts: dict[str, str] | None) -> None:
    """Adds to `outcome.problems` what is wrong with the output, or with one more run of the job."""
    outcome.problems += problems(job.output, job.corpus, texts)
    if "--duplicates" in job.flags:
        undisturbed = len(outcome.exit_codes) == 1
        outcome.problems += copies_wrong(job.output, undisturbed=undisturbed)
    if outcome.quiet:
        outcome.problems += in_vain(job.output, outcome.answered)
    before, answered = job.output.files(), job.answered.by_run()
    again = run_until_done(job, cluster, ())
    outcome.problems += [f"one more run: {problem}" for problem in again.problems]
    after = job.output.files()
    changed = sorted(n for n in before | after if before.get(n) != after.get(n))
    if changed:
        outcome.problems.append(f"one more run changed {', '.join(changed[:3])}")
    if job.answered.by_run() != answered:
        outcome.problems.append("one more run answered rows")


def chaos_run(
    series: Session, name: str, drawn: Draw, reference: Reference | None
) -> dict[str, Any]:
    """One run of the job under fire; what happened, ready for JSON.

    Args:
        name: of its output and log.
        reference: None leaves the texts unchecked.
    """
    texts, expected = (reference.texts, reference.seconds) if reference else (None, 60.0)
    started = time.monotonic()
    job = series.job(name, drawn, limit_sec=180 + 5 * expected)
    outcome = run_until_done(job, series.cluster, drawn.kills)
    late = [lost for lost in outcome.lost if lost.seconds > drawn.part_sec + ON_ITS_WAY_SEC]
    outcome.problems += [f"a kill cost {each}" for each in late]
    if not outcome.problems:
        check(job, series.cluster, outcome, texts)
    if drawn.everything and not outcome.problems:
        into, rng = series.folder / f"{name}-exported", random.Random(name)
        ids = set(texts_of(job.output))
        environment = series.cluster.environment
        outcome.problems += export_under_fire(job, into, rng, ids, environment)
    return {
        "run": name,
        "format": drawn.fmt,
        "storage": drawn.storage,
        "rows_per_part": drawn.rows_per_part,
        "language_actors": drawn.language_actors,
        "part_sec": drawn.part_sec,
        "rows": len(job.corpus.ends),
        **asdict(outcome),
        "rows_answered": job.answered.by_run().total(),
        "wall_sec": round(time.monotonic() - started, 1),
        "ok": not outcome.problems,
        "log": str(job.log),
    }
