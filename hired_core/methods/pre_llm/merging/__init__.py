"""Methods whose rows are weighted sums of visual tokens chosen by content; one file each.

Sums over fixed cells, which look at no content, are not here.
"""
