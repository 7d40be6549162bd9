"""A process that holds an engine until it is killed: `python -m tests.vllm.holder`."""

from __future__ import annotations

import time

from tests.vllm.cases import Case


def main() -> None:
    with Case("embedded") as case:
        assert case.own.engine.num_blocks
        print("started", flush=True)
        time.sleep(3600)


if __name__ == "__main__":
    main()
