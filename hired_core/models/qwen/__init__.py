"""Qwen-VL families: native resolution, a tower of their own, positions in three dimensions.

One file each, and what they share: how the tower and the decoder are made. Cutting an image into
cells is geometry (`hired_core.geometry.native`), running the tower vision (`vision.packed`).
"""
