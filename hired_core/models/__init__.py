"""Adapters: the only code that knows a model class. Import one to import transformers.

What all models share, i.e. towers, decoders and geometry, is in the rooms below.
"""
