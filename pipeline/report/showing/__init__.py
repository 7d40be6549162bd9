"""What is shown of what was read: a page of HTML, or lines of text. Parts are read elsewhere.

pictures    examples' images, read again from the input and made small
thumbnail   what the decoding child does for them
budgets     how a caption's budget lies on its image
cards       one row, with its image
charts      numbers as the shapes of a drawing
advice      what to do about a code or a flag
views       one output, ready to be written down
page        all of it as HTML, by the templates beside it
lines       all of it as text
"""
