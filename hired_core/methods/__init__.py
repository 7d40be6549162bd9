"""What decides which visual tokens the language model sees; one file a method.

Here: budgets, scores, selection, and the methods made of them, as pure tensor functions. Not here:
vision towers (`hired_core.vision`) and how a batch goes through one (`hired_core.vlm`).
"""
