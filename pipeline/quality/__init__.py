"""What is wrong with a text, told by the text: flags, each a plain rule.

Nothing here knows a model or a row; what becomes of a flagged text is `pipeline.stages`'.

    criteria   what is looked for, what is rejected
    checker    all rules in turn
    loops      runs of words that repeat
    phrases    refusals, and prompts that come back
    languages  which language a text is in
"""
