"""Kohonen tokenizer: images to grids of map-ordered tokens and back."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .service.runtime.tokenizer import Tokenizer

__version__ = "0.1.0"
__all__ = ["Tokenizer", "__version__"]


def __getattr__(name: str) -> Any:
    """Load `Tokenizer` when it is asked for: whoever only trains does without onnxruntime."""
    if name == "Tokenizer":
        return importlib.import_module("kohonen_tokenizer.service.runtime.tokenizer").Tokenizer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
