"""Prompts made of a row's columns: Jinja templates of the user, values of anyone.

What goes into a model's own chat template is `hired_core.language`'s.

    sandbox   the language of templates, without what lets a value cost time or memory
    spans     where values stand in a text, and control tokens broken there
    template  a prompt with its columns
    asking    the prompts of one row
"""
