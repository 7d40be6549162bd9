"""The least time that arithmetic and memory allow, beside what a run took.

`work` counts from shapes, `ceilings` measures the device, `bounds` puts the two together.
"""
