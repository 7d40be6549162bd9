"""Families: the only code that knows a model class; one file a family, and what they share.

`registry` tells the family from a checkpoint's config.json. Importing a family imports
transformers; importing the registry does not. Decoding, methods and engines are not here.
"""
