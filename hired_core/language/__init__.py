"""Prompts, requests and completions: what goes into a decoder, what comes out, of which form.

Nothing here generates (`hired_core.backends`) or knows a model class (`hired_core.models`).
"""
