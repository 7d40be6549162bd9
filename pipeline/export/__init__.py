"""Captions taken away from an output, in the forms that other programs read.

Reads an output by its ledger and never changes it. Making captions is `pipeline.job`'s, reading
images `pipeline.sources`', and how a byte gets to its place `pipeline.storage`'s.

    options    what was asked for
    groups     the captions of one shard at a time, as the ledger names them
    where      rows chosen by an SQL condition
    names      image ids turned into file names, all different
    originals  the images, read again from the job's input
    wide       captions of one image as one row
    journal    how far an export is, so that a killed one goes on
    pieces     what is stored at once, the journal behind each
    exporter   all of it: captions to items to files
    formats    one file for each form
    hub        a dataset handed on to the Hugging Face Hub
"""
