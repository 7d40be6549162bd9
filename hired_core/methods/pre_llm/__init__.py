"""Methods that decide before the language model which visual tokens it is given; one file each.

They return a `Reduction`. What they are made of is in `hired_core.methods`, one folder up.
"""
