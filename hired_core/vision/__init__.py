"""Vision towers, layer by layer: hidden states, CLS rows, received attention.

Nothing here knows a model class (`hired_core.models`) or a method (`hired_core.methods`).
"""
