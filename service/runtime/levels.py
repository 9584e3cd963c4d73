"""One level of a bundle's tokens with its map, and the choice among several.

K codebook_size, D code_dim.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..errors import ParameterError, TokensError
from .array_checks import describe
from .bundle import Bundle
from .codebook import Codebook
from .manifest import Level, sha256_hex
from .topology import IntegerTokens, Topology


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenLevel:
    """A grid of tokens, its codebook and its map."""

    level: Level
    """Name, latent grid, map shape and codebook size."""
    codebook: Codebook
    """Code vectors [K, D] and map coordinates."""
    topology: Topology
    """The map, for questions about neighbors."""

    @property
    def middle(self) -> int:
        """The token in the middle of the map."""
        *rows, columns = self.level.map_shape
        return (rows[0] // 2 if rows else 0) * columns + columns // 2


class Levels(Mapping[str, TokenLevel]):
    """The levels of a model by name, in the order of its manifest."""

    def __init__(self, bundle: Bundle) -> None:
        """Take those of `bundle`."""
        self._levels = {}
        for level in bundle.manifest.levels:
            codebook = bundle.codebooks[level.name]
            topology = Topology(
                codebook.coordinates, vectors=codebook.vectors, map_topology=level.map_topology
            )
            self._levels[level.name] = TokenLevel(level=level, codebook=codebook, topology=topology)

    def __getitem__(self, name: str) -> TokenLevel:
        return self._levels[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._levels)

    def __len__(self) -> int:
        return len(self._levels)

    def choose(self, name: str | None = None) -> TokenLevel:
        """The level of that name; without one, the only level there is.

        Raises:
            ParameterError: no such level, or no name where there are several.
        """
        if name is None and len(self) == 1:
            return next(iter(self.values()))
        if name is None or name not in self:
            what = "no level is named" if name is None else f"level {name[:70]!r} is unknown"
            raise ParameterError(f"{what}; this model has {', '.join(self)}; give one of these as the level")
        return self[name]

    def all_of(self, tokens: object) -> Mapping[str, IntegerTokens]:
        """`tokens`, if they are a mapping that has every level, and nothing else.

        Raises:
            TokensError: they are not.
        """
        if not isinstance(tokens, Mapping) or set(tokens) != set(self):
            given = sorted(tokens) if isinstance(tokens, Mapping) else describe(tokens)
            raise TokensError(f"tokens are {given}; this model takes those of {', '.join(self)} by name")
        return tokens

    @property
    def sha256(self) -> str:
        """Of the codebooks: that of the only one, or of the names and hashes of several, a line each."""
        if len(self) == 1:
            return self.choose().codebook.sha256
        return sha256_hex("".join(f"{name} {self[name].codebook.sha256}\n" for name in self).encode())
