# What __init__.py loads lazily, for type checkers.
from .service.runtime.tokenizer import Tokenizer as Tokenizer

__version__: str
