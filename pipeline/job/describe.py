"""`--dry-run`: the resolved plan, for people."""

from __future__ import annotations

from collections import Counter

from hired_core.backends.base import BackendPlan
from pipeline.accounting.cost import load_prices
from pipeline.accounting.token_budget import asked, doubts
from pipeline.job.graph import IMAGES_PER_TASK, block_bytes
from pipeline.job.plan import Plan, make_plan, num_named
from pipeline.job.resolve import resolve
from pipeline.resources.estimate import device_flops, estimate
from pipeline.resources.placement import Cluster
from pipeline.resources.resolved import Resolved
from pipeline.rows.words import counted
from pipeline.settings.config import CaptionConfig, JobConfig
from pipeline.settings.prompts import NamedPrompt
from pipeline.sources import redact_url
from pipeline.sources.paths.passed_over import told


def describe(config: JobConfig) -> str:
    """What the job would read, keep, run on, write and cost at least; nothing is run or written.

    Raises:
        JobError: where the job itself would refuse to start.
    """
    plan = make_plan(resolve(config, Cluster.of_this_machine()))
    resolved = plan.resolved
    lines = [
        ("input", _input(plan)),
        *([("passed over", told(plan.passed_over))] if plan.passed_over else []),
        ("work", _work(plan)),
        ("model", _model(resolved)),
        ("prompt", _prompt(config)),
        *([("duplicates", _duplicates(config))] if config.duplicates.copies else []),
        *([("carried", _carried(resolved))] if len(resolved.extras.carried) else []),
        *_form(resolved),
        ("visual tokens", _tokens(plan)),
        ("placement", f"{resolved.placement.describe()}, on {_machine(resolved.cluster)}"),
        ("memory", _memory(resolved.backend)),
        ("in flight", _flight(resolved)),
        ("cost", _cost(plan)),
        ("output", _output(plan)),
        ("fingerprint", plan.identity.fingerprint),
        *(("note", doubt) for doubt in doubts(config.reduction, resolved.spec.nominal_tokens)),
    ]
    return "\n".join(f"{name:>14}  {text}" for name, text in lines)


def _input(plan: Plan) -> str:
    formats = Counter({shard.name: shard.format for shard in plan.shards}.values())
    kinds = ", ".join(_kind(name, count) for name, count in sorted(formats.items()))
    sizes = [shard.size_bytes for shard in plan.shards if shard.size_bytes is not None]
    count = plan.num_images
    images = "images counted as they are read" if count is None else counted(count, "image")
    shards = counted(num_named(plan.shards), "shard")
    return f"{shards} ({kinds}), {sum(sizes) / 1024**2:,.1f} MiB, {images}"


def _kind(name: str, count: int) -> str:
    return f"{counted(count, 'folder')} of images" if name == "images" else f"{count} {name}"


def _model(resolved: Resolved) -> str:
    spec, dtype = resolved.spec, str(resolved.dtype).removeprefix("torch.")
    chosen = resolved.config.model
    parts = {"decoder": chosen.quantize, "vision tower": chosen.quantize_vision}
    stored = "".join(f", {name} stored in {kind}" for name, kind in parts.items() if kind)
    return f"{chosen.model} ({spec.family}, {spec.geometry.summary}, {dtype}{stored})"


def _machine(cluster: Cluster) -> str:
    """A dry run starts no Ray, so the cluster that will run the job is not asked."""
    gpus = f"{cluster.gpus} x {cluster.gpu_name}" if cluster.gpus else "no GPU"
    return f"a machine like this one ({cluster.cpus:g} CPUs, {gpus})"


def _output(plan: Plan) -> str:
    where = redact_url(plan.sink.url)
    if plan.config.output.overwrite:
        return f"{where}; results that are there are deleted first"
    rows = plan.ledger.totals().rows
    verb = "is" if rows == 1 else "are"
    return f"{where}, where {counted(rows, 'row')} {verb} stored" if rows else where


def _work(plan: Plan) -> str:
    work = plan.work
    num_changed, num_complete = num_named(work.changed), plan.num_complete
    changed = f", {num_changed:,} of them changed" if num_changed else ""
    complete = f"{num_complete:,} {'is' if num_complete == 1 else 'are'} complete"
    return f"{counted(num_named(work.to_open), 'shard')} to open{changed}, {complete}"


def _prompt(config: JobConfig) -> str:
    question = config.question
    if isinstance(question, CaptionConfig):
        column = question.prompt_column
        return _texts(question.prompts) if column is None else f"from column {column!r}"
    return f"from column {question.question_column!r}"


def _texts(prompts: tuple[NamedPrompt, ...]) -> str:
    if prompts[0].name is None:
        return repr(prompts[0].text)
    return ", ".join(f"{prompt.name} {prompt.text!r}" for prompt in prompts)


def _duplicates(config: JobConfig) -> str:
    bits = config.duplicates.near_duplicates
    near = "" if bits is None else f", and of images whose hashes differ in at most {bits} bits"
    return f"the caption of the first is copied, of images with the same bytes{near}"


def _carried(resolved: Resolved) -> str:
    return ", ".join(f"{column.name} ({column.type})" for column in resolved.extras.carried)


def _form(resolved: Resolved) -> list[tuple[str, str]]:
    """What texts may be, if not anything."""
    form = resolved.config.generation.form
    if form is None:
        return []
    names = ", ".join(resolved.extras.parsed.names)
    into = f", into columns {names}" if names else ", into no columns: it has no properties"
    what = "JSON of the schema" if form.schema is not None else f"one of {len(form.choices)} texts"
    later = "; ".join(form.not_enforced)
    checked = f"; checked when it is written, not before: {later}" if later else ""
    return [("texts", f"{what}{into}{checked}")]


def _tokens(plan: Plan) -> str:
    selection, spec = plan.config.reduction, plan.resolved.spec
    share = asked(selection, spec.nominal_tokens)
    method = f"method {selection.effective_method}"
    if selection.alpha_matters:
        method += f", alpha {selection.effective_alpha:g}"
    changed = selection.variations | {
        "skip_below": selection.effective_skip_below or None,
        "transposed_grid": selection.transposed_grid or None,
    }
    told = [f"{name} {value}" for name, value in changed.items() if value not in (None, {})]
    return ", ".join([share, method, f"newline {selection.newline_policy}", *told])


def _memory(plan: BackendPlan) -> str:
    bounded = plan.limit_bytes is not None
    return f"{plan.describe()}{', per language actor' if bounded else ''}"


def _flight(resolved: Resolved) -> str:
    """How the actors are kept busy."""
    size, pool = resolved.config.run.batch_size, resolved.placement.language
    mib = block_bytes(resolved) / 1024**2
    return (
        f"{pool.calls} batches of {size} images under way in each language actor, 2 more at hand; "
        f"{IMAGES_PER_TASK} images per decoding task, blocks of {mib:.0f} MiB"
    )


def _cost(plan: Plan) -> str:
    resolved, cluster = plan.resolved, plan.resolved.cluster
    one = estimate(resolved.config, resolved.spec)
    prices = load_prices(plan.config.run, cluster.gpu_name)
    rate = device_flops(cluster)
    seconds = one.flops / rate
    gpus = resolved.placement.gpus
    per_1000 = 1000 * prices.usd(seconds=seconds, gpus=gpus, cpus=cluster.cpus)
    count = plan.num_images
    in_all = "" if count is None else f", USD {per_1000 * count / 1000:.4f} in all"
    return (
        f"at least USD {per_1000:.5f} per 1000 images{in_all} "
        f"({one.flops / 1e9:,.1f} GFLOP an image at {rate / 1e9:,.0f} GFLOP/s)"
    )
