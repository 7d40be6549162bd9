"""Prompts, requests and completions: what goes into a decoder and what comes out.

Nothing here generates (`hired_core.backends`) or knows a model class (`hired_core.models`).
"""
