"""What training tells its user in one line.

TrainingError (a ValueError)
├── ConfigError      a value in the run's configuration
├── DataError        images that are missing, unreadable or too few
├── CheckpointError  a checkpoint that is missing, changed or of another run
├── DivergedError    a loss that is no number any more
├── RanksError       a process that was trained with has ended
└── StoppedError     a run that was interrupted; it can be carried on
"""

from __future__ import annotations


class TrainingError(ValueError):
    """Root of the tree: the message says the value, the limit and the fix."""


class ConfigError(TrainingError):
    """A value in the run's configuration is unknown or out of range."""


class DataError(TrainingError):
    """Images are missing, unreadable or too few."""


class CheckpointError(TrainingError):
    """A checkpoint is missing, changed since it was written, or belongs to another run."""


class DivergedError(TrainingError):
    """The loss is no number any more."""


class RanksError(TrainingError):
    """Another process of the run has ended, and this one cannot go on alone."""


class StoppedError(TrainingError):
    """A signal ended the run before its last step; its checkpoint is written."""
