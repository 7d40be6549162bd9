"""What training reads: rendered shards, labelled partitions, random changes, further questions.

Drawing itself is in `lab.rendering`; batches are made by the stage that trains on them.
"""
