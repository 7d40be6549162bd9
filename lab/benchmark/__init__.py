"""Transformers' `generate` and this engine side by side on one machine; `hired benchmark`.

Runs without Ray: contestants are built on `hired_core` alone, so that a machine that has torch and
transformers only can be measured.
"""
