"""An output looked at: one page, or a few lines, of what is stored in it.

Reads captions, quarantine, statistics and the ledger, and changes nothing. It runs no model and
decides nothing about rows: that is `pipeline.job`'s; checking an output is `pipeline.verify`'s.

    asked       what was asked for
    reading     what is stored, counted in one pass; a few rows drawn; two outputs joined
    showing     what is shown of it: cards, charts, images made small; the page and the lines
    style       the look that all pages of this project share
    reporter    all of it: outputs to a page, or to lines
"""
