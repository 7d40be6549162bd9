"""One model, ready to use, and its halves: images to kept tokens, tokens and prompts to text.

Loading weights is the families' part (`hired_core.models`), generating the backends'.
"""
