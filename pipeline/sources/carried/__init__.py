"""Columns of the input that go along with an image: which, of what type, and their values.

How a format is read is its reader's; how the columns travel and are stored, `pipeline.rows`'.

    request         what was asked for: patterns, and the columns they stand for
    looked_at       which columns there are, by a look at some shards
    carried_values  values of one row, as Arrow arrays and for templates
"""
