"""Adapters: the only code that knows a model class. Import one to import transformers."""
