"""Training of families of native resolution: towers without a CLS token, a merger, M-RoPE.

The same recipe as the embedded model's, by the family's own geometry, tower and projector; what
differs from one family to the next is a `NativeRecipe` in `recipes`.
"""
