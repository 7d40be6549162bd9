"""LLaVA's own format: checkpoints as its authors published them, read as they are.

Their settings and names in transformers' terms, where their vision tower is, and what they are
asked with. What a family does with that is in its own file; transformers' format is read elsewhere.
"""
