"""Which steps there are, in which order: what is cheap and what everything rests on comes first."""

from __future__ import annotations

from lab.device_check.bench import Sizes
from lab.device_check.runner import Step
from lab.device_check.steps import equality, kernels, machine, memory, speed


def plan(sizes: Sizes) -> list[Step]:
    """Seconds are reckoned for one H100 and the default sizes; tiny ones need none."""
    steps = [
        ("machine", machine.machine, 5),
        ("selection", equality.selection, 10),
        ("texts", equality.texts, 25),
        ("gpu tests", machine.gpu_tests, 80),
        ("ceilings", machine.ceilings, 30),
        ("large logits", equality.large_logits, 10),
        ("large texts", equality.large_texts, 20),
        ("waits", kernels.waits, 10),
        ("memory", memory.plan_and_peak, 40),
        ("shortage", memory.shortage, 30),
        *((f"ours {budget:g}", speed.ours(budget), 20) for budget in sizes.budgets),
        *((f"transformers {size}", speed.theirs(size), 20) for size in sizes.batch_sizes),
        ("vllm", speed.vllm, 60),
        ("attention", kernels.attention, 20),
        ("profile", kernels.profile, 15),
    ]
    real = sizes == Sizes()
    return [Step(name=name, work=work, needs_sec=sec if real else 0) for name, work, sec in steps]
