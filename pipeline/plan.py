"""What a job will do, worked out before anything runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hired_core.models.checkpoint import CheckpointError
from hired_core.models.spec import ModelSpec
from hired_core.prompts import PromptError
from pipeline.config import CaptionConfig, JobConfig, QuestionConfig
from pipeline.errors import ConfigError, ModelError
from pipeline.estimate import estimate
from pipeline.fingerprint import fingerprint, fingerprint_fields
from pipeline.sink import KINDS, Sink
from pipeline.sources import (
    ReadOptions,
    Shard,
    check_columns,
    count_rows,
    limit_shards,
    list_shards,
    redact_url,
)
from pipeline.sources.storage import local_path, url_parts

MAX_COUNTED_SHARDS = 1000


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A checked configuration, with its inputs listed and its model's geometry known.

    Attributes:
        num_images: None where only reading can tell (tars). As many rows, unless an image has a
            list of questions.
    """

    config: JobConfig
    spec: ModelSpec
    shards: tuple[Shard, ...]
    options: ReadOptions
    num_images: int | None
    sink: Sink
    fingerprint: str
    fingerprint_fields: dict[str, Any]


def make_plan(config: JobConfig) -> Plan:
    """Lists the input, reads the model's configuration and checks the output; runs nothing.

    Raises:
        InputError, ModelError, ConfigError, StorageError: with one line on what to change.
    """
    spec = _load_spec(config)
    options = read_options(config)
    shards = list_shards(
        config.input.input,
        storage_options=config.input.storage_options,
        input_root=config.input.input_root,
    )
    check_columns(shards, options)
    if config.input.limit is not None:
        shards = limit_shards(shards, config.input.limit, options)
    _check_prompt(config, spec)
    _check_apart(config.output.output, shards)
    sink = Sink(url=config.output.output, storage_options=config.input.storage_options)
    _check_output(config, sink)
    fields = fingerprint_fields(config, spec)
    return Plan(
        config=config,
        spec=spec,
        shards=shards,
        options=options,
        num_images=_num_images(shards, options),
        sink=sink,
        fingerprint=fingerprint(fields),
        fingerprint_fields=fields,
    )


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


def _load_spec(config: JobConfig) -> ModelSpec:
    from hired_core.models import llava_next

    try:
        return llava_next.load_spec(config.model.model, config.model.revision)
    except (CheckpointError, OSError, ValueError) as exc:
        raise ModelError(f"model: {exc}") from exc


def _check_prompt(config: JobConfig, spec: ModelSpec) -> None:
    """What would fail every row alike, after all its images were encoded, fails here."""
    text = _prompt_tokens(config.question, spec)
    visual = min(estimate(config, spec, value_bytes=1).tokens, spec.num_patches)
    new = config.generation.max_new_tokens
    if text + visual + new > spec.max_context:
        needed = f"prompt, {visual} visual tokens and these take {text + visual + new} positions"
        raise ConfigError(
            f"max_new_tokens: {new} do not fit: {needed}, the model has {spec.max_context}"
        )


def _prompt_tokens(question: CaptionConfig | QuestionConfig, spec: ModelSpec) -> int:
    """Of the text around the image; 0 where each row has its own."""
    from hired_core.models import llava_next

    if not isinstance(question, CaptionConfig) or question.prompt_column is not None:
        return 0
    try:
        before, after = llava_next.load_prompt_template(spec).token_ids(question.prompt)
    except PromptError as exc:
        raise ConfigError(f"prompt: {exc}") from exc
    except (OSError, ValueError) as exc:
        raise ModelError(f"model: {' '.join(str(exc).split())}") from exc
    return len(before) + len(after)


def _check_apart(output: str, shards: tuple[Shard, ...]) -> None:
    """Results among the input, as in `--input data --output data/out`, would be read as images."""
    inside = [url_parts(f"{(local_path(output) or output).rstrip('/')}/{kind}") for kind in KINDS]
    for shard in shards:
        folder = url_parts(local_path(shard.url) or shard.url)
        if any(folder[: len(parts)] == parts for parts in inside):
            raise ConfigError(
                f"output: its results, e.g. {redact_url(shard.url)}, are among the input; "
                "give an --output elsewhere, or an --input that leaves it out"
            )


def _check_output(config: JobConfig, sink: Sink) -> None:
    if config.output.overwrite or config.run.dry_run:
        return
    if any(sink.parts(kind) for kind in ("captions", "quarantine")):
        where = redact_url(config.output.output)
        raise ConfigError(
            f"output: {where} holds results already; give another --output, or --overwrite"
        )


def _num_images(shards: tuple[Shard, ...], options: ReadOptions) -> int | None:
    """Exact, or None: where a tar is among the shards, or too many files would be opened."""
    if len(shards) > MAX_COUNTED_SHARDS or any(s.format == "webdataset" for s in shards):
        return None
    counts = [count_rows(shard, options) for shard in shards]
    return None if None in counts else sum(c for c in counts if c is not None)
