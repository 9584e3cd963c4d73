"""What a job tells its user in one line.

BatchError (a ValueError)
├── SourceError       images that cannot be found, or a table without a column of them
├── DestinationError  a folder that cannot be written, is full, or is at work already
├── MismatchError     a dataset of another model, policy or source than this job's
├── ErrorLimitError   more images failed than the job may bear
├── WorkerError       worker processes died
├── EngineError       the engine is not installed, or has no machines for the job
└── DatasetError      a dataset that is unfinished, or not what its manifest says

After any of them the shards that were complete still are, and the same command carries the job on.
"""


class BatchError(ValueError):
    """Root of the tree: the message is one line and says the value, the limit and the fix."""

    def __init__(self, message: str) -> None:
        # Messages quote paths and file systems, which may hold line breaks.
        super().__init__(" ".join(message.split()))


class SourceError(BatchError):
    """There are no images, or they cannot be read as what they are said to be."""


class DestinationError(BatchError):
    """The destination cannot be written, is full, or another job is at work on it."""


class MismatchError(BatchError):
    """The destination holds tokens of another model, of another policy or of other images."""


class ErrorLimitError(BatchError):
    """More images failed than the job may bear."""


class WorkerError(BatchError):
    """Worker processes died, and the engine does not go on without them."""


class EngineError(BatchError):
    """What would deal out the shards is not installed, does not answer, or has no machines."""


class DatasetError(BatchError):
    """The dataset is unfinished, or its files are not what its manifest says."""
