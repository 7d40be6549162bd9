"""Selections that compare visual tokens, so that no two say the same; one file each.

Some weigh by attention besides; what looks at attention alone is in `attention`.
"""
