"""Tokens outside the model, of one level or of several: what they are called, and whose they are.

One level goes by the name `tokens`. Of several each goes by `tokens_LEVEL`, as in the graphs: keys of JSON,
tensors of safetensors, inputs and outputs of the Open Inference Protocol.

B images, h w latent grid, T tokens of an image on all levels.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from .errors import TokensError
from .runtime.array_checks import check_grids
from .runtime.backend import Tokens
from .runtime.levels import TokenLevel
from .runtime.manifest import tensor_name
from .runtime.tokenizer import Tokenizer

TokenArray = npt.NDArray[np.integer]


@dataclass(frozen=True, kw_only=True, slots=True)
class Claims:
    """What tokens say of the model that made them."""

    claims: Mapping[str, object] = field(default_factory=dict)
    """Of IDENTITY_KEYS those that were given."""

    @property
    def model(self) -> str | None:
        """The name of the model that made them, if they say so."""
        name = self.claims.get("model")
        return name if isinstance(name, str) else None

    def check_claims(self, identity: Mapping[str, str]) -> None:
        """Return if nothing in the claims contradicts the `identity` of a model.

        Raises:
            TokensError: they are of another model.
        """
        for key, value in self.claims.items():
            if value != identity[key]:
                raise TokensError(
                    f"the tokens are of {key} {str(value)[:70]!r}, and this model's is {identity[key]!r}; "
                    "decode them with their own model"
                )


@dataclass(frozen=True, kw_only=True, slots=True)
class LevelTokens(Claims):
    """Tokens as they came, before it is known whose they are."""

    tokens: TokenArray | Mapping[str, TokenArray]
    """Integers: an array that names no level, or one by each level's name. Their shapes and range are the
    model's to check."""
    told: str
    """What came, for a message: `the JSON object has the keys 'tokens'`."""

    @property
    def is_named(self) -> bool:
        """Whether they say of which levels they are."""
        return isinstance(self.tokens, Mapping)

    @property
    def arrays(self) -> list[TokenArray]:
        """All of them."""
        return list(self.tokens.values()) if isinstance(self.tokens, Mapping) else [self.tokens]

    def each(self, change: Callable[[TokenArray], TokenArray]) -> "LevelTokens":
        """The same with every array changed."""
        if isinstance(self.tokens, Mapping):
            return replace(self, tokens={name: change(array) for name, array in self.tokens.items()})
        return replace(self, tokens=change(self.tokens))

    def rows(self, tokenizer: Tokenizer) -> Tokens:
        """As the decoder of `tokenizer` takes them: int32 [B, h, w], or [B, T] of several levels.

        Raises:
            TokensError: not one array for each of its levels, or as `Tokenizer.check_tokens` has it.
            TokenRangeError: as `Tokenizer.check_tokens` has it.
        """
        expected = field_names(tokenizer)
        given = map(tensor_name, self.tokens) if isinstance(self.tokens, Mapping) else ["tokens"]
        if set(given) != set(expected.values()):
            raise TokensError(f"{self.told}; give {_example(expected.values())}, nothing else")
        return tokenizer.check_tokens(self.tokens)

    def grids(self, tokenizer: Tokenizer, *, level: str | None) -> Tokens | dict[str, Tokens]:
        """As `Tokenizer.perturb` takes them: int32 [B, h, w] of `level`, or of every level by its name.

        Raises:
            ParameterError: they name no level, and neither does `level` where there are several.
            TokensError, TokenRangeError: as `rows` has it.
        """
        if not isinstance(self.tokens, Mapping):
            return check_grids(self.tokens, level=tokenizer.levels.choose(level).level)
        return tokenizer.split_rows(self.rows(tokenizer))

    def of_level(self, level: TokenLevel, *, tokenizer: Tokenizer) -> TokenArray:
        """Those of one `level` of `tokenizer`: an array that names no level, or the one of its name.

        Raises:
            TokensError: there are none of this level.
        """
        if not isinstance(self.tokens, Mapping):
            return self.tokens
        name, names = level.level.name, field_names(tokenizer)
        if name not in self.tokens or not self.tokens.keys() <= names.keys():
            raise TokensError(f"{self.told}; give {_example([names[name]])}")
        return self.tokens[name]


def field_names(tokenizer: Tokenizer) -> dict[str, str]:
    """By level, what its tokens are called."""
    levels = list(tokenizer.levels)
    return {levels[0]: "tokens"} if len(levels) == 1 else {level: tensor_name(level) for level in levels}


def grids_by_field(rows: Tokens, *, tokenizer: Tokenizer) -> dict[str, Tokens]:
    """The grids int32 [B, h, w] in `rows`, as `Tokenizer.encode_rows` gives them, by what they are called.

    In C order, as what writes JSON wants them: parts of rows are not.
    """
    names = field_names(tokenizer)
    return {names[level]: np.ascontiguousarray(grids) for level, grids in tokenizer.split_rows(rows).items()}


def by_field(tokens: Tokens | Mapping[str, Tokens]) -> dict[str, Tokens]:
    """`tokens` of one level, or by level, by what they are called."""
    if not isinstance(tokens, Mapping):
        return {"tokens": tokens}
    return {tensor_name(level): array for level, array in tokens.items()}


def as_grids(tokens: TokenArray) -> TokenArray:
    """`tokens`, one grid [h, w] or many [B, h, w], as many.

    Raises:
        TokensError: of another number of dimensions.
    """
    if tokens.ndim == 2:
        tokens = tokens[np.newaxis]
    if tokens.ndim != 3:
        raise TokensError(f"tokens have {tokens.ndim} dimensions; give one grid [h][w] or many [B][h][w]")
    return tokens


def one_grid(tokens: TokenArray) -> TokenArray:
    """`tokens`, one grid [h, w] or [1, h, w], as [1, h, w].

    Raises:
        TokensError: of another number of dimensions, or not one grid.
    """
    grids = as_grids(tokens)
    if len(grids) != 1:
        raise TokensError(f"{len(grids)} grids are where one belongs; give [h][w]")
    return grids


def _example(names: Iterable[str]) -> str:
    names = list(names)
    shape = "[h][w] or [B][h][w]" if names == ["tokens"] else "[B][h][w]"
    return "{" + ", ".join(f'"{name}": {shape}' for name in names) + "}"
