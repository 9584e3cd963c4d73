"""A level of the model behind a URL, as the in-process tokenizer has it in `levels`."""

from collections.abc import Callable

from .records import Codebook, Level


class ServedLevel:
    """One level and its codebook, which is fetched when it is first asked for.

    Attributes:
        level: name, latent grid, the map's shape and the codebook's size.
    """

    def __init__(self, level: Level, *, fetch: Callable[[], Codebook]) -> None:
        self.level = level
        self._fetch = fetch

    @property
    def codebook(self) -> Codebook:
        """Code vectors float32 [K, D] and their places on the map."""
        return self._fetch()
