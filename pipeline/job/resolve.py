"""From settings, the checkpoint's files and the cluster to one frozen `Resolved`."""

from __future__ import annotations

import torch

from hired_core.errors import SettingError
from hired_core.geometry.spec import ModelSpec
from hired_core.language.form import Form
from hired_core.language.grammar import GrammarError, check_tokenizer
from hired_core.language.prompts import PromptError, PromptTemplate
from hired_core.models import registry
from hired_core.models.checkpoint import CheckpointError
from hired_core.models.weights import check_quantization
from hired_core.vlm.device import compute_dtype
from hired_core.vlm.fitting import require_fit
from pipeline.resources.memory import expected_plan, with_calls
from pipeline.resources.placement import Cluster, place
from pipeline.resources.resolved import Resolved
from pipeline.rows.errors import ConfigError, ModelError
from pipeline.rows.extras import ExtraColumns
from pipeline.rows.parsing import Parser
from pipeline.settings.config import CaptionConfig, JobConfig, ModelConfig
from pipeline.settings.fingerprint import fingerprint, fingerprint_fields
from pipeline.sources import columns_of_template, is_template


def resolve(config: JobConfig, cluster: Cluster) -> Resolved:
    """Everything that does not depend on input and output; reads configuration files only.

    Raises:
        ModelError, ConfigError: with one line on what to change.
    """
    check_quantization(config.model.quantization)
    spec = load_spec(config.model)
    require_fit(spec, config.reduction)
    template = _load_template(spec)
    prompt, varies = _prompt_tokens(config, template)
    _check_length(config, spec, prompt)
    device = torch.device("cuda" if cluster.gpus else "cpu")
    dtype = compute_dtype(config.model.dtype, spec.stored_dtype, device)
    placement = place(config.run, cluster)
    text = max(prompt, config.run.max_prompt_tokens) if varies else prompt
    plan = expected_plan(config, spec, placement, cluster, text_positions=text, dtype=dtype)
    fields = fingerprint_fields(config, spec, str(dtype).removeprefix("torch."))
    return Resolved(
        config=config,
        cluster=cluster,
        spec=spec,
        template=template,
        text_positions=text,
        dtype=dtype,
        placement=with_calls(placement, plan, config.run.batch_size),
        backend=plan,
        fields=fields,
        fingerprint=fingerprint(fields),
        extras=_parsed_columns(config.generation.form, template),
    )


def load_spec(model: ModelConfig) -> ModelSpec:
    """What the checkpoint says of itself.

    Raises:
        ModelError: if it is missing, incomplete, unsafe or of a family that is not supported.
    """
    try:
        return registry.load_whole_spec(model.model, model.revision, model.image_options)
    except SettingError:
        raise  # It names the option itself.
    except (CheckpointError, OSError, ValueError) as exc:
        raise ModelError(f"model: {exc}") from exc


def _load_template(spec: ModelSpec) -> PromptTemplate:
    try:
        return registry.family_of(spec).load_prompt_template(spec)
    except (OSError, ValueError) as exc:
        raise ModelError(f"model: {' '.join(str(exc).split())}") from exc


def _parsed_columns(form: Form | None, template: PromptTemplate) -> ExtraColumns:
    if form is None:
        return ExtraColumns()
    try:
        check_tokenizer(template.tokenizer)
    except GrammarError as exc:
        raise ModelError(f"model: {exc}") from exc
    return ExtraColumns(parsed=Parser(form).schema)


def _prompt_tokens(config: JobConfig, template: PromptTemplate) -> tuple[int, bool]:
    """Of the text around the image: the longest that is known, and whether rows have others."""
    question = config.question
    if not isinstance(question, CaptionConfig) or question.prompt_column is not None:
        return 0, True
    texts = [prompt.text for prompt in question.prompts]
    for text in texts:
        columns_of_template(text)
    lengths = [_tokens_of(text, template) for text in texts]
    known = [n for n, text in zip(lengths, texts, strict=True) if not is_template(text)]
    return max(known, default=0), len(known) < len(texts)


def _tokens_of(prompt: str, template: PromptTemplate) -> int:
    try:
        before, after = template.token_ids(prompt)
    except PromptError as exc:
        raise ConfigError(f"prompt: {exc}") from exc
    except (OSError, ValueError) as exc:
        raise ModelError(f"model: {' '.join(str(exc).split())}") from exc
    return len(before) + len(after)


def _check_length(config: JobConfig, spec: ModelSpec, text: int) -> None:
    """What would fail every row alike, after all its images were encoded, fails here."""
    if spec.geometry.max_side is not None:
        return  # The smallest image is one token; longer ones that do not fit fail by themselves.
    visual = min(config.reduction.num_before(spec.nominal_tokens), spec.num_tokens)
    if config.reduction.effective_positions == "original":
        visual = spec.num_tokens  # No dense sequence is shorter.
    new = config.generation.max_new_tokens
    if text + visual + new > spec.max_context:
        needed = f"prompt, {visual} visual tokens and these take {text + visual + new} positions"
        raise ConfigError(
            f"max_new_tokens: {new} do not fit: {needed}, the model has {spec.max_context}"
        )
