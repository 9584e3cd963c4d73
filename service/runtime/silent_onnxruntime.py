"""onnxruntime, imported so that it reports to nobody.

Since 1.31 its wheels send usage events to their maker, and leave an identifier in the user's cache folder,
from the moment of the import; a variable that is set before it is the only full opt-out. Whoever wants the
reports sets ORT_DISABLE_TELEMETRY=0. All of the project imports onnxruntime from here.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

__all__ = ["onnxruntime"]
