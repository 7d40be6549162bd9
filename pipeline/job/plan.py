"""What a job will do, worked out before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from pipeline.ledger.existing import ExistingOutput, check_fits, choose_sink, inspect_output
from pipeline.ledger.identity import Identity
from pipeline.ledger.ledger import Ledger
from pipeline.ledger.work import Work, find_work, refuse_changed
from pipeline.parts.sink import KINDS, Sink
from pipeline.resources.resolved import Resolved
from pipeline.rows.errors import ConfigError, InputError
from pipeline.settings.config import CaptionConfig, JobConfig, QuestionConfig
from pipeline.sources import (
    Listing,
    ReadOptions,
    Shard,
    check_columns,
    choose_carried,
    columns_of,
    count_rows,
    limit_shards,
    list_input,
    listed,
    name_of_images,
    parse_carry,
    redact_url,
)
from pipeline.sources.paths.passed_over import HIDDEN, told
from pipeline.storage.files import local_path, url_parts

MAX_COUNTED_SHARDS = 1000
_RAYS_FOLDER = "working_dir_files"
"""Of runtime environments: there `ray job submit --working-dir` unpacks what was sent."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What was resolved, with its inputs listed and compared with what is stored.

    Attributes:
        shards: all of the input.
        work: which of them are to be opened, as far as can be told without holding the output.
        num_images: in the shards to open; None where only reading can tell (tars). As many rows,
            unless an image has a list of questions.
        identity: what the output is, or will be, marked with.
        passed_over: files of the input that are not read, by reason.
    """

    resolved: Resolved
    shards: tuple[Shard, ...]
    work: Work
    options: ReadOptions
    num_images: int | None
    sink: Sink
    ledger: Ledger
    identity: Identity
    passed_over: Mapping[str, int] = field(default_factory=dict)

    @property
    def config(self) -> JobConfig:
        return self.resolved.config

    @property
    def num_complete(self) -> int:
        """Shards, as the column `shard` counts them, with all rows stored."""
        return num_named(self.shards) - num_named(self.work.to_open)

    @property
    def num_rows(self) -> int | None:
        """In the shards to open; None where only reading can tell."""
        if self.num_images is None or self.options.prompt_column is not None:
            return None
        return self.num_images * max(1, len(self.options.prompts))

    @property
    def is_done(self) -> bool:
        """Whether everything is stored and in order, so that a run would change nothing."""
        retry = self.config.output.retry_quarantined
        again = {r.ledger_id for r in self.ledger.select("quarantined")} if retry else set()
        return not (
            self.work.to_open
            or self.ledger.open_runs
            or self.config.output.overwrite
            or any(shard.ledger_id in again for shard in self.shards)
        )


def num_named(shards: Iterable[Shard]) -> int:
    """How many names are in the column `shard`: all buckets of a folder share one."""
    return len({shard.name for shard in shards})


def make_plan(resolved: Resolved) -> Plan:
    """Lists the input and looks at the output; changes nothing.

    Raises:
        InputError, ConfigError, StorageError: with one line on what to change.
    """
    config = resolved.config
    refuse_lost_output(config.output.output)
    options = read_options(config)
    sink, existing = _inspect_output(config, resolved.fingerprint)
    listing = _list_input(config, existing)
    identity = _identity(resolved, listing, existing)
    check_fits(existing, identity)
    shards = listing.shards
    _check_apart(config.output.output, shards)
    if config.input.limit is not None:
        shards = limit_shards(shards, config.input.limit, options)
    work = _find_work(config, shards, existing.ledger)
    if work.to_open:
        check_columns(work.to_open, options)
    resolved, options = _with_columns(resolved, options, listing.shards)
    return Plan(
        resolved=resolved,
        shards=shards,
        work=work,
        options=options,
        num_images=_num_images(work.to_open, options),
        sink=sink,
        ledger=existing.ledger,
        identity=identity,
        passed_over=listing.passed_over,
    )


def refuse_lost_output(output: str) -> None:
    """Refuses an output in the folder that Ray makes for a submitted job, and deletes with it.

    Raises:
        ConfigError: if it lies there; with `ray job submit` every relative path does.
    """
    path = local_path(output)
    if path is None or _RAYS_FOLDER not in path.split("/"):
        return
    raise ConfigError(
        f"output: {redact_url(output)} is {path} here, in the working directory that Ray made for "
        "this job and deletes with it; give an absolute path that all nodes share, or a URL"
    )


def _identity(resolved: Resolved, listing: Listing, existing: ExistingOutput) -> Identity:
    """An output that is there keeps its version, and so the ids that it has."""
    here = Identity(
        fingerprint=resolved.fingerprint, fields=dict(resolved.fields), input_root=listing.root
    )
    there = existing.identity
    return here if there is None else replace(here, version=there.version)


def _inspect_output(config: JobConfig, fingerprint: str) -> tuple[Sink, ExistingOutput]:
    output = config.output
    sink = Sink(url=output.output, storage_options=config.input.storage_options)
    sink = choose_sink(sink, fingerprint, new_run=output.new_run)
    return sink, inspect_output(sink, overwrite=output.overwrite)


def _list_input(config: JobConfig, existing: ExistingOutput) -> Listing:
    there = existing.identity
    listing = list_input(
        config.input.input,
        storage_options=config.input.storage_options,
        input_root=config.input.input_root,
        known_root=there.input_root if there else None,
        buckets=existing.ledger.buckets(),
        old_names=there is not None and there.has_old_names,
    )
    passed = {why: count for why, count in listing.passed_over.items() if why != HIDDEN}
    if config.input.unknown == "refuse" and passed:
        raise InputError(
            f"unknown: the input holds {told(passed)}; --unknown skip passes them over"
        )
    return listing


def _find_work(config: JobConfig, shards: tuple[Shard, ...], ledger: Ledger) -> Work:
    work = find_work(shards, ledger)
    if config.output.on_changed == "fail":
        refuse_changed(work)
    return work.without_changed() if config.output.on_changed == "skip" else work


def read_options(config: JobConfig) -> ReadOptions:
    """The part of the configuration that the sources understand."""
    return ReadOptions(
        **_asked(config.question),
        image_column=config.input.image_column,
        image_root=config.input.image_root,
        fetch=config.fetch,
        id_column=config.input.id_column,
        tar_keys=config.input.tar_keys,
        image_member=config.input.image_member,
        max_carried_bytes=config.input.max_carried_bytes,
        max_image_bytes=config.input.max_image_bytes,
        storage_options=config.input.storage_options,
    )


def _asked(question: CaptionConfig | QuestionConfig) -> dict[str, Any]:
    """By field of `ReadOptions`."""
    if isinstance(question, QuestionConfig):
        return {"prompt_column": question.question_column}
    if question.prompt_column is not None:
        return {"prompt_column": question.prompt_column}
    prompts = question.prompts
    limit = {"max_prompt_chars": question.max_prompt_chars}
    if prompts[0].name is None:
        return limit | {"prompt": prompts[0].text}
    return limit | {"prompts": tuple((str(p.name), p.text) for p in prompts)}


def _with_columns(
    resolved: Resolved, options: ReadOptions, shards: tuple[Shard, ...]
) -> tuple[Resolved, ReadOptions]:
    """With the columns that rows carry, judged by all of the input: also what is done already."""
    patterns = parse_carry(resolved.config.input.carry)
    if options.has_templates:
        options = replace(options, control_tokens=resolved.template.control_tokens)
    if not patterns and not options.fields:
        return resolved, options
    there = columns_of(shards, options)
    if missing := [name for name in options.fields if name not in there]:
        raise InputError(f"prompt: no column {missing[0]!r}; {listed(there)}")
    images = name_of_images(there, options.image_column)
    carried = choose_carried(patterns, there, images)
    schema = pa.schema([pa.field(column.name, column.kind) for column in carried])
    extras = replace(resolved.extras, carried=schema)
    return replace(resolved, extras=extras), replace(options, carried=carried)


def _check_apart(output: str, shards: tuple[Shard, ...]) -> None:
    """Results among the input, as in `--input data --output data/out`, would be read as images."""
    base = (local_path(output) or output).rstrip("/")
    inside = [url_parts(f"{base}/{folder}") for folder in (*KINDS, "runs")]
    for shard in shards:
        folder = url_parts(local_path(shard.url) or shard.url)
        if any(folder[: len(parts)] == parts for parts in inside):
            raise ConfigError(
                f"output: its results, e.g. {redact_url(shard.url)}, are among the input; "
                "give an --output elsewhere, or an --input that leaves it out"
            )


def _num_images(shards: tuple[Shard, ...], options: ReadOptions) -> int | None:
    """Exact, or None: where a tar is among the shards, or too many files would be opened."""
    if len(shards) > MAX_COUNTED_SHARDS or any(s.format == "webdataset" for s in shards):
        return None
    counts = [count_rows(shard, options) for shard in shards]
    return None if None in counts else sum(c for c in counts if c is not None)
