"""Typed settings of a job: one frozen dataclass per concern, validated where it is declared.

Field names are the keys of YAML files and, with dashes, the flags of the command line; the string
under each field is its `--help`. Names are unique over all sections.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from hired_core.choices import BackendName, Quantization, WeightFormat
from hired_core.errors import SettingError, require
from hired_core.images.decode import DEFAULT_MAX_PIXELS
from hired_core.language.generation import GenerationSettings
from hired_core.vlm.settings import ReductionSettings
from pipeline.isolation.protocol import DEFAULT_OPTIONS, CutOptions, DecodeLimits, Resize, Truncated
from pipeline.quality.criteria import QualityConfig
from pipeline.settings.prompts import DEFAULT_PROMPT, NamedPrompt, named_prompts
from pipeline.storage.web.fetch_options import FetchOptions

OnChanged = Literal["fail", "redo", "skip"]
Duplicates = Literal["keep", "copy"]
Unknown = Literal["skip", "refuse"]

MOST_DISTANCE = 10
"""Of near duplicates; beyond it, hashes of 64 bits find likeness everywhere."""


@dataclass(frozen=True, kw_only=True)
class InputConfig:
    """Input"""

    input: list[str] = field(repr=False)  # URLs and options may carry secrets: never shown.
    """Images: files, globs, folders or prefixes, as paths or URLs. Parquet, WebDataset tars, image
    files, Hugging Face datasets on disk, and CSV, TSV or JSON-lines files of paths and URLs, in any
    mix; any URL that fsspec reads. 'hf-dataset:NAME[:CONFIG[:SPLIT]]' is a dataset of the Hugging
    Face Hub."""
    input_root: str | None = field(default=None, repr=False)
    """What shard names in image_id are relative to. Default: the inputs' common folder."""
    unknown: Unknown = "skip"
    """Files that are of no known format by their names. 'skip': passed over, and counted by ending
    in plan, summary and report. 'refuse': the job does not start. Hidden files are always passed
    over, and counted."""
    image_column: str = "image"
    """Column of images: bytes, paths or URLs, structs or lists of these. A struct has 'bytes' or
    'path'; a list gives a row for each of its images. Where there is no 'image' and no column of
    bytes: the first of path, file_name, url and the like."""
    image_root: str | None = field(default=None, repr=False)
    """Folder or URL that paths in tables are relative to. They must not lead out of it. Default:
    the table's own folder. A path that begins with '..' is relative to the table, and must end
    below it."""
    id_column: str | None = None
    """Column of a table that names a row. Default: its position in the shard."""
    tar_keys: Literal["first-dot", "last-dot"] = "first-dot"
    """What members of a WebDataset tar share that are one sample. 'first-dot': the name up to the
    first dot of its last part, as webdataset has it; 'last-dot': up to the last one, so that
    photo.v2.jpg and photo.v3.jpg are two samples."""
    image_member: str | None = None
    """Of WebDataset samples with several images (0.left.jpg, 0.right.jpg), the one to caption, by
    what follows the key: 'left.jpg', or a pattern such as 'left.*'. Default: a row for each."""
    carry: list[str] = field(default_factory=list)
    """Columns of the input to put beside the caption, e.g. 'url, *_id, text as alt_text'. Of
    tables, and of WebDataset: fields of a sample's .json, its .txt and .cls.
    Types are kept; what does not fit is null, and counted."""
    max_carried_bytes: int = 1024**2
    """A carried value that is larger is null, and counted."""
    limit: int | None = None
    """Stop after this many rows."""
    max_pixels: int = DEFAULT_MAX_PIXELS
    """Larger images are quarantined unread."""
    max_image_bytes: int = 64 * 1024**2
    """Larger encoded images are quarantined unread."""
    decode_timeout_sec: float = 30.0
    """Images that take longer to decode are quarantined."""
    max_decode_mib: int = 2048
    """Images that take more memory to decode are quarantined."""
    truncated: Truncated = "refuse"
    """An image that ends in the middle. 'refuse': quarantined. 'accept': captioned from the part
    that is there, and marked so in image_notes. One that lacks no more than its end is captioned
    either way."""
    resize: Resize = DEFAULT_OPTIONS.resize
    """How images are brought to size. 'exact': by Pillow, as transformers' PIL image processor, bit
    by bit. 'fast': by torch, as its torchvision one, which takes less than half the time with
    decoding, and gives a few values in a thousand (in a hundred where an image loses much more
    height than width) that differ, mostly by 1 of 255."""
    reduced_decode: bool = DEFAULT_OPTIONS.reduced_decode
    """Decode a JPEG at 1/2, 1/4 or 1/8 if that divides both its sides and its partitions need no
    more. Several times faster for photographs; shrunk block by block, pixels differ slightly."""
    storage_options: dict[str, Any] = field(default_factory=dict, repr=False)
    """Arguments for the fsspec filesystem, e.g. '{"endpoint_url": "http://minio:9000"}'. Keep
    secrets out: credentials belong in the environment."""

    def __post_init__(self) -> None:
        texts = isinstance(self.input, list) and all(isinstance(i, str) for i in self.input)
        require(texts and bool(self.input), "input", self.input, "a list of paths or URLs")
        require(
            self.max_carried_bytes > 0, "max_carried_bytes", self.max_carried_bytes, "1 or more"
        )
        require(self.limit is None or self.limit > 0, "limit", self.limit, "1 or more")
        require(self.max_pixels > 0, "max_pixels", self.max_pixels, "1 or more")
        require(self.max_image_bytes > 0, "max_image_bytes", self.max_image_bytes, "1 or more")
        timeout = self.decode_timeout_sec
        require(0 < timeout < math.inf, "decode_timeout_sec", timeout, "above 0")
        require(self.max_decode_mib > 0, "max_decode_mib", self.max_decode_mib, "1 or more")

    @property
    def decode_limits(self) -> DecodeLimits:
        return DecodeLimits(
            max_pixels=self.max_pixels,
            timeout_sec=self.decode_timeout_sec,
            max_mib=self.max_decode_mib,
            truncated=self.truncated,
        )

    @property
    def cut_options(self) -> CutOptions:
        return CutOptions(resize=self.resize, reduced_decode=self.reduced_decode)


@dataclass(frozen=True, kw_only=True)
class CaptionConfig:
    """Prompt"""

    prompt: str | list[str] | dict[str, str] = DEFAULT_PROMPT
    """Asked of every image. Several as NAME=TEXT, once each: an image is encoded once and has a row
    for each. A prompt may hold columns of its row, as in 'The alt text is: {{ alt }}.' (a Jinja
    template). It goes into the model's chat template, unless it holds the model's image placeholder
    itself, e.g. '<image>': then it is used word for word."""
    max_prompt_chars: int = 8192
    """Prompts made of a template that are longer are quarantined. Of a longer text in a column a
    template sees the beginning."""
    prompt_column: str | None = None
    """Column with a prompt for each row, instead of --prompt. Of a WebDataset sample, a field of
    its JSON."""

    def __post_init__(self) -> None:
        most = self.max_prompt_chars
        require(most > 0, "max_prompt_chars", most, "1 or more")
        _ = self.prompts

    @property
    def prompts(self) -> tuple[NamedPrompt, ...]:
        """What is asked of every image, where no column says it."""
        return named_prompts(self.prompt)


@dataclass(frozen=True, kw_only=True)
class QuestionConfig:
    """Questions"""

    question_column: str = "question"
    """Column with a question, or a list of questions, for each image. An image with several is
    encoded once. Of a WebDataset sample, a field of its JSON; 'txt' is its .txt member."""


@dataclass(frozen=True, kw_only=True)
class OutputConfig:
    """Output"""

    output: str = field(repr=False)
    """Folder or URL for captions/, quarantine/, stats/ and report.json. Run again with the
    same settings, a job does what is missing there; with other settings it is refused."""
    overwrite: bool = False
    """Delete the results that are at --output first."""
    new_run: bool = False
    """If --output holds results of other settings, keep them. This run then writes to its folder
    runs/FINGERPRINT, which is an output of its own: the same command resumes it."""
    retry_quarantined: bool = False
    """Do the quarantined rows of the input's shards again."""
    on_changed: OnChanged = "fail"
    """What to do with a shard whose size, etag or modification time is another than when it was
    captioned: refuse to start, caption it anew, or keep its captions."""
    rows_per_part: int = 512
    """Rows of one Parquet part file, at most."""
    part_sec: float = 60.0
    """A part is closed when its first row has waited so long, full or not: what a kill can cost."""
    compact: bool = True
    """When the run ends, merge parts with fewer than half of --rows-per-part rows, if there are 8
    or more of them. Later: hired verify OUTPUT --compact."""
    grace_sec: float = 20.0
    """On Ctrl-C or SIGTERM finished rows are written, which may take so long."""
    max_error_rate: float = 0.1
    """Exit with 3 when a larger share of the rows is quarantined. Of those in the shards that this
    run opened, or of all at --output."""

    def __post_init__(self) -> None:
        require(bool(self.output.strip()), "output", self.output, "a folder or URL")
        require(self.rows_per_part > 0, "rows_per_part", self.rows_per_part, "1 or more")
        for key in ("part_sec", "grace_sec"):
            value = getattr(self, key)
            require(0 < value < math.inf, key, value, "above 0")
        ok = 0 <= self.max_error_rate <= 1
        require(ok, "max_error_rate", self.max_error_rate, "0 to 1")
        if self.overwrite and self.new_run:
            raise SettingError("new_run: keeps the results that --overwrite deletes; choose one")


@dataclass(frozen=True, kw_only=True)
class DuplicatesConfig:
    """Duplicates"""

    duplicates: Duplicates = "keep"
    """What to do with images that were met before. Byte for byte, under the same prompt; in any
    shard, in this run or an earlier one at the same --output. 'keep': caption each. 'copy': caption
    the first, and give its caption to the others."""
    near_duplicates: int | None = None
    """Images that look like one met before get its caption, too. So many of the 64 bits of their
    perceptual hashes may differ, 0 to 10: 4 finds other sizes and qualities of one picture. The
    hash knows no colours. Includes --duplicates copy."""

    def __post_init__(self) -> None:
        bits = self.near_duplicates
        ok = bits is None or 0 <= bits <= MOST_DISTANCE
        require(ok, "near_duplicates", bits, f"0 to {MOST_DISTANCE}")

    @property
    def copies(self) -> bool:
        """Whether any image gets the caption of another."""
        return self.duplicates == "copy" or self.near_duplicates is not None


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Model"""

    model: str = "embedded"
    """'embedded' (small, shipped), a Hugging Face id or a folder. LLaVA-Next, Qwen2-VL and what
    else docs/models.md lists, e.g. llava-hf/llava-v1.6-vicuna-7b-hf."""
    revision: str | None = None
    """Branch, tag or commit of a Hugging Face id."""
    image_options: dict[str, Any] = field(default_factory=dict)
    """How images are cut, where the family leaves a choice, e.g. '{"max_pixels": 1003520}' for
    Qwen-VL, whose images are resized to min_pixels to max_pixels. Default: as the checkpoint's own
    image processor. Fewer pixels, fewer visual tokens: docs/models.md."""
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """'auto': float32 on CPUs; on GPUs bfloat16 if the checkpoint is stored so, else float16."""
    quantize: WeightFormat | None = None
    """Weights of the language model's layers in 8 bits: int8 or fp8. They take a half of float16's
    memory, a quarter of float32's, which leaves room for more slots; texts change a little. On CPUs
    it is no faster, mostly slower: docs/performance.md. Needs pip install
    'hired-batch[quantize]'."""
    quantize_vision: WeightFormat | None = None
    """The same of the vision tower's layers. What a method looks at is then the quantised
    tower's."""

    @property
    def quantization(self) -> Quantization:
        return Quantization(decoder=self.quantize, vision=self.quantize_vision)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Run"""

    dry_run: bool = False
    """Print what would be done, at what cost, and stop."""
    placement: Literal["auto", "fused", "split"] = "auto"
    """Vision and language in one actor (fused) or in two pools (split). 'auto': split from two
    GPUs on."""
    vision_actors: int | None = None
    """Size of the vision pool under split. Default: a quarter of the GPUs."""
    language_actors: int | None = None
    """Size of the language pool, or of the fused pool. Default: the remaining GPUs; without a GPU
    one for each 8 CPUs."""
    batch_size: int = 8
    """Images per call of the vision tower, and rows that travel together. Of the language model it
    limits nothing: see --max-slots."""
    backend: BackendName = "slots"
    """What runs the language model. 'slots': requests in fixed regions of memory, refilled as they
    end. 'reference': transformers' own generate, in batches; slower, any decoder, no limit.
    'vllm': vLLM, where it is installed; quantised checkpoints, many GPUs: docs/backends.md."""
    tensor_parallel: int = 1
    """GPUs that share the language model of an actor, with --backend vllm."""
    memory_limit_gib: float | None = None
    """What the model of an actor may take. Weights, key-value cache and workspace. Default: 0.9 of
    the GPU, or half of the node's memory shared among its CPUs."""
    max_slots: int | None = None
    """Requests that run at once in an actor, if memory allows. Default: 256 on GPUs, 16 on CPUs."""
    max_prompt_tokens: int = 512
    """Longest prompt, its chat template included, where prompts come with the data; longer ones are
    quarantined. Sizes the slots; a prompt given by --prompt is measured instead."""
    torch_threads: int | None = None
    """CPU threads of an actor. Default: the node's CPUs shared among its actors."""
    gpu_hour_price: float | None = None
    """USD per GPU-hour. Default: from --prices, or a list price, by GPU name."""
    cpu_hour_price: float | None = None
    """USD per CPU-hour. Default: from --prices, or a list price."""
    prices: str | None = None
    """YAML file of prices. Default: list prices. It has lines like 'cpu_hour: 0.05', 'gpu_hour:
    {H100: 3.50}' and 'default_gpu_hour: 2.00'."""
    progress: bool = True
    """Print a line on the state of the job every few seconds."""

    def __post_init__(self) -> None:
        counts = ("vision_actors", "language_actors", "torch_threads", "max_slots", "batch_size")
        for key in (*counts, "tensor_parallel"):
            value = getattr(self, key)
            require(value is None or value > 0, key, value, "1 or more")
        if self.tensor_parallel > 1 and self.backend != "vllm":
            raise SettingError("tensor_parallel: only --backend vllm shares a model among GPUs")
        require(
            self.max_prompt_tokens > 0, "max_prompt_tokens", self.max_prompt_tokens, "1 or more"
        )
        limit = self.memory_limit_gib
        ok = limit is None or 0 < limit < math.inf
        require(ok, "memory_limit_gib", limit, "above 0")
        for key in ("gpu_hour_price", "cpu_hour_price"):
            value = getattr(self, key)
            ok = value is None or 0 <= value < math.inf
            require(ok, key, value, "0 or more")


@dataclass(frozen=True, kw_only=True)
class JobConfig:
    """All settings of one job."""

    input: InputConfig
    output: OutputConfig
    fetch: FetchOptions = field(default_factory=FetchOptions)
    question: CaptionConfig | QuestionConfig = field(default_factory=CaptionConfig)
    duplicates: DuplicatesConfig = field(default_factory=DuplicatesConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    reduction: ReductionSettings = field(default_factory=ReductionSettings)
    generation: GenerationSettings = field(default_factory=GenerationSettings)
    quality: QualityConfig = field(default_factory=QualityConfig)
    run: RunConfig = field(default_factory=RunConfig)
