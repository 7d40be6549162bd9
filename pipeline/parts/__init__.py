"""The files of an output: parts written whole, what each says of itself, rows taken out again.

Parts are the truth: each appears whole or not at all and names its rows. What they add up to, shard
by shard, is `pipeline.ledger`'s; how a byte gets to its place, `pipeline.storage`'s.

    sink           where parts, report and ledger lie in an output
    entries        what a part says it holds
    collector      answered rows made parts, by number and by time
    remove_rows    rows taken out of parts again
    merge_journal  which part stands for which while small ones are merged
"""
