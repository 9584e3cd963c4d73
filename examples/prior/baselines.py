"""What a model of tokens must beat: their counts, and the counts beside their neighbors in the image.

B images, h w latent grid, K codebook_size, M = B * h * w tokens.
"""

import numpy as np
import numpy.typing as npt

from .token_dataset import TokenDataset

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# Images of `train` that choose the exponent; more would only take longer.
_MAX_JUDGED = 500

# A context counts as if it had been seen this often more, with the tokens spread as in all images.
_PRIOR_COUNT = 256

_EXPONENTS = np.arange(0.4, 1.05, 0.1)
_CHUNK = 8192


def uniform_bits(images: TokenDataset) -> float:
    """Bits per token of a code chosen at random."""
    return float(np.log2(images.codebook_size))


def unigram_bits(train: TokenDataset, held_out: TokenDataset) -> float:
    """Bits per token of `held_out` by how often each token is in `train`."""
    return float(-np.log2(_unigram(train))[held_out.tokens].mean())


def bigram_bits(train: TokenDataset, held_out: TokenDataset) -> float:
    """Bits per token of `held_out` by the tokens to the left and above, as counted in `train`.

    p(k | left, above) is in proportion to p(k) (p(k | left) / p(k) p(k | above) / p(k))^a: were the two
    neighbors independent given k, a would be 1. It is the best of a few on a part of `train`, counted on
    the rest.
    """
    middle = len(train) - min(max(len(train) // 10, 1), _MAX_JUDGED)
    counted, judged = train.take(range(middle)), train.take(range(middle, len(train)))
    exponent = min(_EXPONENTS, key=lambda exponent: _bigram_bits(counted, judged, exponent=exponent))
    return _bigram_bits(train, held_out, exponent=exponent)


def _bigram_bits(train: TokenDataset, held_out: TokenDataset, *, exponent: float) -> float:
    unigram = _unigram(train)
    tokens, *contexts = _with_contexts(train)
    ratios = [
        exponent * (np.log(_conditional(tokens, context, unigram=unigram)) - np.log(unigram))
        for context in contexts
    ]
    tokens, left, above = _with_contexts(held_out)
    nats = 0.0
    for start in range(0, len(tokens), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        scores = np.log(unigram) + ratios[0][left[chunk]] + ratios[1][above[chunk]]
        chosen = np.take_along_axis(scores, tokens[chunk, np.newaxis], axis=1)[:, 0]
        nats += float((np.log(np.exp(scores).sum(axis=1)) - chosen).sum())
    return nats / len(tokens) / float(np.log(2))


def _unigram(images: TokenDataset) -> Floats:
    """Probabilities [K], none of them 0."""
    counts = np.bincount(images.tokens.ravel(), minlength=images.codebook_size) + 1.0
    probabilities: Floats = counts / counts.sum()
    return probabilities


def _conditional(tokens: Integers, context: Integers, *, unigram: Floats) -> Floats:
    """p(k | context), [K + 1, K], of `tokens` [M] in `context` [M]."""
    size = len(unigram)
    counts = np.bincount(context * size + tokens, minlength=(size + 1) * size).reshape(size + 1, size)
    smoothed = counts + _PRIOR_COUNT * unigram
    probabilities: Floats = smoothed / smoothed.sum(axis=1, keepdims=True)
    return probabilities


def _with_contexts(images: TokenDataset) -> tuple[Integers, Integers, Integers]:
    """Of each token, itself and the ones to the left and above, [M]; K is outside the image."""
    grids = images.tokens.astype(np.int64).reshape(-1, *images.latent_grid)
    framed = np.pad(grids, ((0, 0), (1, 0), (1, 0)), constant_values=images.codebook_size)
    return grids.ravel(), framed[:, 1:, :-1].ravel(), framed[:, :-1, 1:].ravel()
