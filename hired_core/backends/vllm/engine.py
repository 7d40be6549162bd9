"""vLLM's engine: a process beside this one, spoken to from a thread of this one."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
import uuid
import weakref
from collections.abc import AsyncGenerator, Coroutine
from concurrent import futures
from dataclasses import dataclass
from multiprocessing import active_children
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import torch
from torch import Tensor

from hired_core.backends.base import GIB, EngineLostError, MemoryLimitError
from hired_core.backends.vllm.plan import VllmPlan

__all__ = ["Delta", "Engine"]

T = TypeVar("T")
Watch: TypeAlias = "subprocess.Popen[bytes]"

_LOOK_EVERY_SEC: Final = 0.1

_ENVIRONMENT: Final = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    # This process has threads, and perhaps a device: it cannot be forked.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
}
"""Unless the user's own says otherwise."""

_ON_CPUS: Final = {
    # Bound threads would share one core with those of another actor, or of this process.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    # Small functions, of the sampler for instance, are compiled even where the model is not: that
    # needs a C++ compiler and takes longer than it saves.
    "TORCHDYNAMO_DISABLE": "1",
}


@dataclass(frozen=True, kw_only=True)
class Delta:
    """Tokens that were generated since the last one.

    Attributes:
        logprobs: of each, the logarithm of its probability.
        ended: whether it is the last.
    """

    token_ids: list[int]
    logprobs: list[float]
    ended: bool


class Engine:
    """Started where it is made; ends with this process, even if that is killed.

    Prefixes are not cached: the embeddings of two images are told apart, but those of one are
    hashed block by block, which costs more than the few words before an image bring.

    Args:
        folder: a text model.
        plan: its sizes.

    Attributes:
        close: ends it.
        lost: done once its process has ended.

    Raises:
        MemoryLimitError: if vLLM's own profile leaves no room for a single request.
        EngineLostError: if it does not start for another reason.
    """

    def __init__(self, folder: Path, plan: VllmPlan, dtype: torch.dtype) -> None:
        _set_environment(plan)
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.inputs import embeds_input
        from vllm.v1.engine.async_llm import AsyncLLM
        from vllm.v1.engine.exceptions import EngineDeadError

        self._dead, self._as_prompt = EngineDeadError, embeds_input
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=self._loop.run_forever, name="vllm", daemon=True)
        thread.start()
        watch, processes = _start_watch(), list[BaseProcess]()
        try:
            arguments = AsyncEngineArgs(**_arguments(folder, plan, dtype))
            self._llm = self._start(_started(AsyncLLM, arguments), watch, processes)
        except Exception as exc:
            watch.kill()
            raise EngineLostError(f"vllm did not start: {_one_line(exc)}") from exc
        self.lost: asyncio.Future[None] = self._loop.create_future()
        sentinels = [each.sentinel for each in processes]
        noted = (sentinels, self._loop, self.lost)
        threading.Thread(target=_note_end, args=noted, daemon=True).start()
        # At the latest before the interpreter takes apart what vLLM's own destructor would need.
        self.close = weakref.finalize(self, _end, self._llm, self._loop, watch)
        self._compare(plan)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Its result, or what it raises; waits for it. For any thread but the engine's."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _start(self, work: Coroutine[Any, Any, T], watch: Watch, processes: list[BaseProcess]) -> T:
        """As `run`; notes the processes that it starts, so that they are watched from then on."""
        coming, before = asyncio.run_coroutine_threadsafe(work, self._loop), active_children()
        started = False
        while not started:
            started = bool(futures.wait([coming], timeout=_LOOK_EVERY_SEC).done)
            new = [each for each in active_children() if each not in (*before, *processes)]
            processes.extend(new)
            assert watch.stdin is not None
            watch.stdin.write(b"".join(b"%d\n" % (each.pid or 0) for each in new))
            watch.stdin.flush()
        return coming.result()

    async def generate(self, embeds: Tensor, parameters: Any) -> AsyncGenerator[Delta, None]:
        """What is generated after these rows, as it comes; closing it ends the request.

        Args:
            embeds: [L, D] on the CPU.
            parameters: vLLM's `SamplingParams`.

        Raises:
            EngineLostError: if the engine has ended.
            RuntimeError, ValueError: what is wrong with this request.
        """
        prompt = self._as_prompt(prompt_embeds=embeds)
        stream = self._llm.generate(prompt, parameters, uuid.uuid4().hex)
        try:
            async for output in stream:
                yield _delta(output)
        except self._dead as exc:
            raise EngineLostError("vllm's engine has ended") from exc
        except (RuntimeError, ValueError):
            raise
        except Exception as exc:  # vLLM's own kinds.
            raise RuntimeError(_one_line(exc)) from exc
        finally:
            await stream.aclose()

    @property
    def num_blocks(self) -> int:
        """Of its cache, as vLLM made it."""
        return int(self._llm.vllm_config.cache_config.num_gpu_blocks)

    def _compare(self, plan: VllmPlan) -> None:
        """Refuses a cache in which not even one request fits at its longest.

        One that holds fewer requests than were planned is vLLM's to share out: it lets some wait.
        """
        needed = -(-plan.max_length // plan.block_size) + 1
        if self.num_blocks < needed:
            self.close()
            found = self.num_blocks * plan.block_bytes / GIB
            raise MemoryLimitError(
                f"vllm's own profile leaves {found:.2f} GiB for its cache, "
                f"{needed * plan.block_bytes / GIB:.2f} are needed for one request; "
                "raise the limit, or lower the token budget or the number of new tokens"
            )


def _set_environment(plan: VllmPlan) -> None:
    """For the engine's processes, which inherit it."""
    for name, value in (_ENVIRONMENT | ({} if plan.on_gpu else _ON_CPUS)).items():
        os.environ.setdefault(name, value)
    if not plan.on_gpu:  # As many as were set here; Ray says one, whatever an actor has.
        os.environ["OMP_NUM_THREADS"] = str(torch.get_num_threads())


def _arguments(folder: Path, plan: VllmPlan, dtype: torch.dtype) -> dict[str, Any]:
    return {
        "model": str(folder),
        "skip_tokenizer_init": True,
        "generation_config": "vllm",  # Nothing but what is passed with a request.
        "load_format": "safetensors",
        "trust_remote_code": False,
        "dtype": str(dtype).removeprefix("torch."),
        "enable_prompt_embeds": True,
        "enable_prefix_caching": False,
        "max_model_len": plan.max_length,
        "max_num_seqs": plan.num_slots,
        "max_num_batched_tokens": plan.batched_tokens,
        "block_size": plan.block_size,
        "seed": 0,
        "disable_log_stats": True,
        "enable_log_requests": False,
        **_memory(plan),
        **_parallel(plan),
    }


def _memory(plan: VllmPlan) -> dict[str, Any]:
    """On CPUs the cache as it was planned, and no graphs, which would be compiled at every start;
    on a GPU the share of it in which vLLM's own profile finds room for the cache."""
    if not plan.on_gpu:
        return {"kv_cache_memory_bytes": plan.kv_bytes, "enforce_eager": True}
    total = torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else 0
    share = plan.engine_bytes / (total or plan.limit_bytes)
    return {"gpu_memory_utilization": min(share, 0.98)}


def _parallel(plan: VllmPlan) -> dict[str, Any]:
    if plan.tensor_parallel == 1:
        return {}
    return {
        "tensor_parallel_size": plan.tensor_parallel,
        "distributed_executor_backend": "ray",
    }


def _start_watch() -> Watch:
    """Ends the processes whose ids it is given when this one ends, however that is.

    vLLM's outlive one that is killed, and what they hold of a GPU would stay taken. A shell that
    waits for the end of its input, which is this process's end, sees to it.
    """
    script = 'while read id; do ids="$ids $id"; done; kill -9 $ids 2> /dev/null'
    return subprocess.Popen(
        ["/bin/sh", "-c", script], stdin=subprocess.PIPE, start_new_session=True
    )


def _note_end(
    sentinels: list[int], loop: asyncio.AbstractEventLoop, lost: asyncio.Future[None]
) -> None:
    """vLLM tells of an engine's end those who ask it next, and never those who wait."""
    wait(sentinels)
    loop.call_soon_threadsafe(lost.set_result, None)


def _end(llm: Any, loop: asyncio.AbstractEventLoop, watch: Watch) -> None:
    """Ends the engine's processes."""
    llm.shutdown()
    watch.kill()  # Their ids may soon be others'.
    watch.wait()
    llm.shutdown = lambda *_, **__: None  # Its destructor calls it again.
    loop.call_soon_threadsafe(loop.stop)


async def _started(kind: Any, arguments: Any) -> Any:
    """On the engine's loop, which its answers come in on."""
    return kind.from_engine_args(arguments)


def _delta(output: Any) -> Delta:
    (text,) = output.outputs
    ids = list(text.token_ids)
    chosen = zip(ids, text.logprobs or [], strict=True)
    return Delta(
        token_ids=ids,
        logprobs=[float(found[token].logprob) for token, found in chosen],
        ended=bool(output.finished),
    )


def _one_line(exc: BaseException) -> str:
    return " ".join(f"{type(exc).__name__}: {exc}".split())
