"""Tests that run vLLM itself: `make test-vllm` makes an environment for them, and runs them there.

In the ordinary suite, whose environment has no vLLM, they are skipped.
"""
