"""Which pixels every visual token comes from, and where it stands in the sequence.

Partitions, grids, padding, order, newlines, places: arithmetic, without pixels and without weights.
What a checkpoint's own geometry is, its family says (`hired_core.models`).
"""
