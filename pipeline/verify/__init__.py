"""Checking an output from its files alone, and mending what can be mended.

check     what is there against what it says of itself and what the ledger says
doubles   ids that occur twice, in bounded memory
merge_parts  small parts merged
repair    the ledger made to agree with the parts, the parts with each other
"""
