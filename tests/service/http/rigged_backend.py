"""A backend for tests that rig what the model does."""


class RiggedBackend:
    """One run at a time; a subclass says how it encodes and decodes."""

    description = "rigged"
    is_on_cpu = True
    num_parallel_runs = 1
    max_batch_size = 64
