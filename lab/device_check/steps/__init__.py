"""One file for each kind of question to a device; a step is a function of `Bench`.

It returns figures, with what must hold under "checks". When steps run is not decided here.
"""
