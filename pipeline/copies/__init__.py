"""Which images were met before, and whose caption they get.

The rows themselves wait in parts of their own (`pipeline.stages.fill` gives them the captions);
rows that are stored twice by mistake are `pipeline.ledger`'s.

    bands     hashes that differ in few bits, found without comparing with each
    claims    what is asked of it, and what it answers
    registry  every image and prompt that has a caption, or is about to get one
    client    the registry in an actor, as stages see it
"""
