"""Vision towers by their transformers class; a family names the one it has.

What is done with a tower is `hired_core.vision`; how patches become tokens, `PatchGroups` there.
"""
