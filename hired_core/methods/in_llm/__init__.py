"""Methods that drop visual tokens between the language model's layers; one file each.

They declare a `KeepSchedule`, which the engine carries out (`hired_core.backends.slots.dropping`).
"""
