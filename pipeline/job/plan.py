"""What a job will do, worked out before anything runs."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hired_core.geometry.spec import ModelSpec
from hired_core.language.prompts import PromptError
from hired_core.models import registry
from hired_core.models.checkpoint import CheckpointError
from pipeline.ledger.existing import ExistingOutput, check_fits, choose_sink, inspect_output
from pipeline.ledger.identity import Identity
from pipeline.ledger.ledger import Ledger
from pipeline.ledger.work import Work, find_work, refuse_changed
from pipeline.parts.sink import KINDS, Sink
from pipeline.resources.estimate import estimate
from pipeline.rows.errors import ConfigError, ModelError
from pipeline.settings.config import CaptionConfig, JobConfig, ModelConfig, QuestionConfig
from pipeline.settings.dtypes import compute_dtype
from pipeline.settings.fingerprint import fingerprint, fingerprint_fields
from pipeline.sources import (
    Listing,
    ReadOptions,
    Shard,
    check_columns,
    count_rows,
    limit_shards,
    list_input,
    redact_url,
)
from pipeline.storage.files import local_path, url_parts

MAX_COUNTED_SHARDS = 1000


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A checked configuration, with its inputs listed and compared with what is stored.

    Attributes:
        shards: all of the input.
        work: which of them are to be opened, as far as can be told without holding the output.
        num_images: in the shards to open; None where only reading can tell (tars). As many rows,
            unless an image has a list of questions.
        identity: what the output is, or will be, marked with.
    """

    config: JobConfig
    spec: ModelSpec
    shards: tuple[Shard, ...]
    work: Work
    options: ReadOptions
    num_images: int | None
    sink: Sink
    ledger: Ledger
    identity: Identity

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


def make_plan(config: JobConfig, device: str) -> Plan:
    """Lists the input, reads the model's configuration and looks at the output; changes nothing.

    Args:
        device: that models will run on, "cuda" or "cpu".

    Raises:
        InputError, ModelError, ConfigError, StorageError: with one line on what to change.
    """
    spec = load_spec(config.model)
    options = read_options(config)
    _check_prompt(config, spec)
    dtype = compute_dtype(config.model, spec.stored_dtype, torch.device(device))
    fields = fingerprint_fields(config, spec, str(dtype).removeprefix("torch."))
    sink, existing = _inspect_output(config, fingerprint(fields))
    listing = _list_input(config, existing)
    identity = Identity(fingerprint=fingerprint(fields), fields=fields, input_root=listing.root)
    check_fits(existing, identity)
    shards = listing.shards
    _check_apart(config.output.output, shards)
    if config.input.limit is not None:
        shards = limit_shards(shards, config.input.limit, options)
    work = _find_work(config, shards, existing.ledger)
    if work.to_open:
        check_columns(work.to_open, options)
    return Plan(
        config=config,
        spec=spec,
        shards=shards,
        work=work,
        options=options,
        num_images=_num_images(work.to_open, options),
        sink=sink,
        ledger=existing.ledger,
        identity=identity,
    )


def _inspect_output(config: JobConfig, fingerprint: str) -> tuple[Sink, ExistingOutput]:
    output = config.output
    sink = Sink(url=output.output, storage_options=config.input.storage_options)
    sink = choose_sink(sink, fingerprint, new_run=output.new_run)
    return sink, inspect_output(sink, overwrite=output.overwrite)


def _list_input(config: JobConfig, existing: ExistingOutput) -> Listing:
    return list_input(
        config.input.input,
        storage_options=config.input.storage_options,
        input_root=config.input.input_root,
        known_root=existing.identity.input_root if existing.identity else None,
        buckets=existing.ledger.buckets(),
    )


def _find_work(config: JobConfig, shards: tuple[Shard, ...], ledger: Ledger) -> Work:
    work = find_work(shards, ledger)
    if config.output.on_changed == "fail":
        refuse_changed(work)
    return work.without_changed() if config.output.on_changed == "skip" else work


def read_options(config: JobConfig) -> ReadOptions:
    """The part of the configuration that the sources understand."""
    question = config.question
    if isinstance(question, CaptionConfig):
        column = question.prompt_column
        prompt = question.prompt if column is None else None
    else:
        prompt, column = None, question.question_column
    return ReadOptions(
        image_column=config.input.image_column,
        prompt=prompt,
        prompt_column=column,
        id_column=config.input.id_column,
        max_image_bytes=config.input.max_image_bytes,
        storage_options=config.input.storage_options,
    )


def load_spec(model: ModelConfig) -> ModelSpec:
    """What the checkpoint says of itself.

    Raises:
        ModelError: if it is missing, incomplete, unsafe or of a family that is not supported.
    """
    try:
        return registry.load_spec(model.model, model.revision)
    except (CheckpointError, OSError, ValueError) as exc:
        raise ModelError(f"model: {exc}") from exc


def _check_prompt(config: JobConfig, spec: ModelSpec) -> None:
    """What would fail every row alike, after all its images were encoded, fails here."""
    text = _prompt_tokens(config.question, spec)
    visual = min(estimate(config, spec).tokens, spec.num_patches)
    if config.reduction.effective_positions == "original":
        visual = spec.num_patches  # No dense sequence is shorter.
    new = config.generation.max_new_tokens
    if text + visual + new > spec.max_context:
        needed = f"prompt, {visual} visual tokens and these take {text + visual + new} positions"
        raise ConfigError(
            f"max_new_tokens: {new} do not fit: {needed}, the model has {spec.max_context}"
        )


def _prompt_tokens(question: CaptionConfig | QuestionConfig, spec: ModelSpec) -> int:
    """Of the text around the image; 0 where each row has its own."""
    if not isinstance(question, CaptionConfig) or question.prompt_column is not None:
        return 0
    try:
        before, after = (
            registry.family_of(spec).load_prompt_template(spec).token_ids(question.prompt)
        )
    except PromptError as exc:
        raise ConfigError(f"prompt: {exc}") from exc
    except (OSError, ValueError) as exc:
        raise ModelError(f"model: {' '.join(str(exc).split())}") from exc
    return len(before) + len(after)


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
