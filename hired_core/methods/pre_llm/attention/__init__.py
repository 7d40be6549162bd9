"""Selections by the attention of the vision tower; one file each.

What also compares tokens with each other is in `similarity`.
"""
