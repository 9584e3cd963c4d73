"""A backend for tests that rig what the model does."""


class RiggedBackend:
    """One run at a time; a subclass says how it encodes and decodes."""

    description = "rigged"
    num_parallel_runs = 1
    max_batch_size = 64
