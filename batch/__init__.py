"""Offline encoding: images by the million to a dataset of tokens, by a job that may be killed at any time.

A plan cuts the source into shards; a shard is encoded by a worker that shares nothing, whose bytes are the same
whoever it is and however often; a commit record says that it is complete. An engine only deals out shards.
"""
