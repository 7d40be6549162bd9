"""What is stored already, and what is left to do.

The ledger sums the parts of an output up by shard, one record each, so that a rerun neither reads
nor remembers the ids of finished shards. The parts themselves are in `pipeline.parts`; checking an
output from outside is `pipeline.verify`'s.

    records     a shard's record: version, where its rows are, whether all are there
    ledger      all records in memory
    snapshots   the records on storage
    identity    one configuration for one output
    lease       one run at a time
    existing    an output looked at without touching it
    work        what to open, and what a reader may skip
    writer      an output held and kept in order while a run writes to it
    leftovers   what a run that was killed has left to be done
    duplicates  rows that are stored twice
    compaction  small parts merged
    clear       an output emptied
    reconcile   the proof at the end that every row read is stored
"""
