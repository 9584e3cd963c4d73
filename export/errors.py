"""What export tells its user in one line.

ExportError (a ValueError)
├── ParityError   a graph does not compute what the checkpoint computes
├── TargetError   the bundle's place is taken, or is no place for a bundle
├── MetricsError  metrics that cannot be read, or that were measured on another checkpoint
└── BundleRefusedError  a value that the manifest cannot hold, or a bundle that the service would not load

ExportError itself is for a checkpoint, images or a setting that no bundle can come from. After any of them
what was in the bundle's place before is there still.
"""

from __future__ import annotations


class ExportError(ValueError):
    """Root of the tree: the message is one line and says the value, the limit and the fix."""

    def __init__(self, message: str) -> None:
        # Messages quote exporters and runtimes, which like to break lines.
        super().__init__(" ".join(message.split()))


class ParityError(ExportError):
    """A graph does not compute what the checkpoint computes."""


class TargetError(ExportError):
    """The bundle's place is taken, or is no place for a bundle."""


class MetricsError(ExportError):
    """Metrics cannot be read, or were measured on another checkpoint."""


class BundleRefusedError(ExportError):
    """The manifest cannot hold a value, or the service would not load the bundle."""
