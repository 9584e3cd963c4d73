"""Kohonen tokenizer: images to grids of map-ordered tokens and back."""

__version__ = "0.1.0"
