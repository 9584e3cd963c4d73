"""Offline encoding: images by the million to a dataset of tokens, by a job that may be killed at any time.

A plan cuts the source into shards; a worker that shares nothing encodes a shard, to the same bytes whoever it
is and however often; a commit record says that it is complete. An engine only deals out shards.
"""
