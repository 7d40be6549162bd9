"""The batch job: images in shards -> captions in parts, with Ray Data, over any fsspec storage.

What a model is and how visual tokens are chosen is `hired_core`'s; studies are `lab`'s.
"""
