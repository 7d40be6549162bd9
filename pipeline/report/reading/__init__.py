"""What is stored in an output, read in one pass and in bounded memory; nothing is shown here.

subject      an output: where its parts are, what its runs said of themselves
parts_read   parts as batches of few columns; rows picked out of them
draw         a few rows of many, at random and the same each time
texts        captions: counts, lengths, flags, examples
refused      quarantine: codes, examples
runs         statistics: runs, stages, throughput
slow_shards  which shards took longest for a row
findings     all of that, of one output
changes      two outputs on the same images, word by word
"""
