"""What is stored already, and what is left to do.

Parts are the truth: each appears whole or not at all and names its rows (`sink`). The ledger sums
them up by shard, one record each, so that a rerun neither reads nor remembers the ids of finished
shards:

    sink       parts of the output, and what is in them
    records    a shard's record: version, where its rows are, whether all are there
    ledger     all records in memory
    files      snapshots and segments on storage
    scan       parts that no record names, after a run was killed
    withdraw   rows taken out of parts again
    lease      one run at a time
    identity   one configuration for one output
    work       what to open, and what a reader may skip
    reconcile  the proof at the end that every row read is stored
    keeper     an output held and kept in order while a run writes to it
"""
