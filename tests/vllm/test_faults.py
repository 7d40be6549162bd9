"""What goes wrong: with a request, with its time, with the engine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hired_core.backends.base import NOT_A_NUMBER, EngineLostError, MemoryLimitError
from hired_core.backends.vllm.engine import Engine
from tests.support.halves import picture
from tests.support.processes import descendants
from tests.vllm.cases import PROMPT, Case


def test_a_request_that_is_too_long_is_told_before_it_is_sent(embedded: Case) -> None:
    (request,) = embedded.requests([picture(300, 300)], [PROMPT], 1.0)
    limit = embedded.own.plan.max_length
    needed = request.num_prompt_tokens + 2000
    with pytest.raises(
        ValueError, match=f"^{needed} positions needed, a request of vllm has {limit}$"
    ):
        embedded.vllm(max_new_tokens=2000).generate([request])


def test_positions_of_its_own_are_refused(embedded: Case) -> None:
    (request,) = embedded.requests([picture(300, 300)], [PROMPT], 0.2)
    places = torch.arange(request.sequence.shape[0] + 1) * 2
    with pytest.raises(ValueError, match="has its own"):
        embedded.own.generate([replace(request, places=places)])


def test_what_is_no_number_fails_its_request(embedded: Case) -> None:
    good, bad = embedded.requests([picture(300, 300), picture(300, 200)], [PROMPT] * 2, 0.2)
    spoilt = replace(bad, features=bad.features * float("nan"))
    with pytest.raises(RuntimeError, match=NOT_A_NUMBER):
        embedded.own.generate([good, spoilt])
    assert embedded.own.generate([good, bad]) == embedded.own.generate([good, bad])


def test_time_runs_out_for_a_request(embedded: Case) -> None:
    """A torso remains; the place is free again, and the engine none the worse."""
    requests = embedded.requests([picture(300, 300)] * 2, [PROMPT] * 2, 1.0)
    late = embedded.vllm(generation_timeout_sec=1e-6).generate(requests)
    assert [done.finish_reason for done in late] == ["timeout"] * 2
    assert all(len(done.token_ids) < embedded.settings.max_new_tokens for done in late)
    plain = embedded.own.generate(requests)
    assert {done.finish_reason for done in plain} <= {"stop", "length"}
    assert embedded.vllm(generation_timeout_sec=1e6).generate(requests) == plain


def test_a_limit_that_holds_no_request_is_refused(embedded: Case) -> None:
    with pytest.raises(MemoryLimitError, match="are needed for one request"):
        embedded.plan(limit_bytes=2**24)


def test_the_cache_is_as_large_as_planned(embedded: Case) -> None:
    """vLLM's own count of blocks, of the size that the plan says."""
    assert embedded.own.engine.num_blocks == embedded.own.plan.num_blocks


def test_a_folder_that_is_no_model_is_told_in_a_line(embedded: Case, tmp_path: Path) -> None:
    with pytest.raises(EngineLostError, match=r"^vllm did not start: ") as caught:
        Engine(tmp_path, embedded.plan(), torch.float32)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("which", ["VLLM::EngineCore", "VLLM::Worker"])
def test_an_engine_that_is_killed_is_lost_to_all(embedded: Case, which: str) -> None:
    """Requests under way and those that come later end with the same error, and soon."""
    before = set(descendants(os.getpid()))
    backend = embedded.start()
    (victim,) = [
        process
        for process, title in descendants(os.getpid()).items()
        if process not in before and title.startswith(which)
    ]
    requests = embedded.requests([picture(300, 300)] * 12, [PROMPT] * 12, 1.0)
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(backend.generate, requests)
        os.kill(victim, signal.SIGKILL)
        assert isinstance(under_way.exception(timeout=120), EngineLostError)
    with pytest.raises(EngineLostError):
        backend.generate(requests[:1])
    backend.close()


def test_the_engine_ends_with_a_process_that_is_killed() -> None:
    holder = subprocess.Popen(
        [sys.executable, "-m", "tests.vllm.holder"], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline() == "started\n"
    engine = [id for id, title in descendants(holder.pid).items() if title.startswith("VLLM")]
    assert len(engine) == 2
    holder.kill()
    holder.wait()
    deadline = time.monotonic() + 60
    while any(Path(f"/proc/{process}").exists() for process in engine):
        assert time.monotonic() < deadline, "it outlives its process"
        time.sleep(0.1)
