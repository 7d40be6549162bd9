"""Methods that decide before the language model which visual tokens it is given.

They return a `Reduction`. Rooms by what they look at: geometry, attention, similarity; and merging.
What they are made of is in `hired_core.methods`, one folder up.
"""
