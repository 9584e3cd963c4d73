"""The gate: a graph is written only if it computes what the checkpoint computes.

The reference is the checkpoint in eager PyTorch on the CPU; what is compared with it are the graphs read back
from the bytes that will be written.

B: batch. H, W: pixels. h, w: latent grid. N = B*h*w. K: codebook size. D: code dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from kohonen_tokenizer.training.model import VQVAE
from kohonen_tokenizer.training.quantizer import relative_distances

from .errors import ExportError, ParityError
from .formats import Runner, WrittenGraphs
from .parity_images import noise_images

TOP2_MARGIN = 1e-5
"""How nearly two codes must tie for a graph to take either.

With x a latent vector, w its nearest code and d the squared distances, the top-2 margin of x is
(d of the second nearest - d of the nearest) / (|x|^2 + |w|^2): the gap over the size of the terms whose
difference a distance is, hence over what float32's rounding errors grow with.
"""

MAX_PIXEL_DIFFERENCE = 1
"""Levels of 255 by which a decoded pixel may differ: rounding turns the last bit of a float into one."""

BATCHES = (1, 2, 17)
"""Batch sizes compared: the smallest, that of the graphs' capture, and one that nothing is tuned to."""

NUM_IMAGES = sum(BATCHES)
"""Images that the gate takes."""

GRIDS_AT_ONCE = 64
"""Constant grids decoded in one batch: bounds the memory for a large codebook."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """How far the graphs of all formats are from the checkpoint."""

    formats: tuple[str, ...]
    """The formats compared."""

    batches: tuple[int, ...]
    """The batch sizes, each with images and with noise."""

    top2_margin: float
    """``TOP2_MARGIN``."""

    num_tokens: int
    """Tokens compared, all formats together."""

    equal_share: float
    """Share of the tokens that are the checkpoint's own."""

    num_inside_margin: int
    """Tokens compared whose vectors have a top-2 margin of at most ``top2_margin``."""

    max_pixel_difference: int
    """Greatest difference of a decoded pixel, in levels of 255."""


def check_num_images(images: Tensor) -> None:
    """Raise ExportError for fewer than ``NUM_IMAGES`` images [N, H, W, 3]."""
    if len(images) < NUM_IMAGES:
        raise ExportError(
            f"{len(images)} images to compare on: at least {NUM_IMAGES} are needed; "
            "give more, or leave out --data to compare on images made in code"
        )


@torch.no_grad()
def check_parity(model: VQVAE, *, written: Sequence[WrittenGraphs], images: Tensor) -> Parity:
    """Compare ``written`` with ``model`` on ``images`` uint8 [N, H, W, 3], on noise, and on every code.

    Tokens must be equal outside the top-2 margin; inside it the code that a graph chose may be farther than
    the nearest by no more than the margin. Pixels, decoded from the images' tokens, from random tokens and
    from each code's constant grid, must be within one level. Raises ParityError naming the format, the graph
    and the batch, and ExportError for fewer than ``NUM_IMAGES`` images.
    """
    check_num_images(images)
    noise = noise_images(NUM_IMAGES, size=images.shape[1])
    encoder_cases = [
        _EncoderCase.of(pixels, model=model)
        for source in (images[:NUM_IMAGES], noise)
        for pixels in torch.split(source, list(BATCHES))
    ]
    decoder_cases = [
        _DecoderCase(tokens=tokens, pixels=model.decode(tokens))
        for tokens in _token_grids(encoder_cases, codebook_size=model.quantizer.grid.size)
    ]
    num_tokens = num_equal = num_inside = max_difference = 0
    for graphs in written:
        encoder = _GraphUnderTest.of(graphs, "encoder")
        for encoder_case in encoder_cases:
            tokens = encoder_case.check(encoder)
            num_tokens += tokens.numel()
            num_equal += int((tokens == encoder_case.tokens).sum())
            num_inside += encoder_case.num_inside_margin()
        decoder = _GraphUnderTest.of(graphs, "decoder")
        max_difference = max(max_difference, *(case.check(decoder) for case in decoder_cases))
    return Parity(
        formats=tuple(graphs.format.name for graphs in written),
        batches=BATCHES,
        top2_margin=TOP2_MARGIN,
        num_tokens=num_tokens,
        equal_share=num_equal / num_tokens,
        num_inside_margin=num_inside,
        max_pixel_difference=max_difference,
    )


@dataclass(frozen=True, slots=True)
class _GraphUnderTest:
    label: str
    runner: Runner

    @classmethod
    def of(cls, graphs: WrittenGraphs, half: Literal["encoder", "decoder"]) -> _GraphUnderTest:
        content = graphs.encoder if half == "encoder" else graphs.decoder
        return cls(label=f"{graphs.format.name} {half}", runner=graphs.format.read(content))

    def run(self, batch: Tensor, *, expected: Tensor) -> Tensor:
        """The graph's output, which has to have the dtype and shape of ``expected``."""
        try:
            result = self.runner(batch)
        except Exception as error:  # each runtime has errors of its own, and all mean the same here
            raise self.failure(batch, f"it does not run ({error})") from None
        if result.dtype != expected.dtype or result.shape != expected.shape:
            raise self.failure(
                batch,
                f"it gives {result.dtype} {list(result.shape)}, "
                f"and not {expected.dtype} {list(expected.shape)}",
            )
        return result

    def failure(self, batch: Tensor, reason: str) -> ParityError:
        return ParityError(
            f"{self.label}, batch of {len(batch)}: {reason}; nothing is written: "
            f"export with another version of torch (this is {torch.__version__})"
        )


@dataclass(frozen=True, slots=True)
class _EncoderCase:
    pixels: Tensor
    """uint8 [B, H, W, 3]."""
    tokens: Tensor
    """The checkpoint's own, int32 [B, h, w]."""
    excess: Tensor
    """How much farther than the nearest each code is, as a top-2 margin is measured: float64 [N, K]."""

    @classmethod
    def of(cls, pixels: Tensor, *, model: VQVAE) -> _EncoderCase:
        latents = model.encoder(model.normalize(pixels))
        vectors = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1]).double()
        codebook = model.quantizer.codebook.double()
        distances = relative_distances(vectors, codebook)
        nearest = distances.min(1)
        scale = vectors.square().sum(1) + codebook[nearest.indices].square().sum(1)
        return cls(
            pixels=pixels,
            tokens=model.quantizer(latents).indices.int(),
            excess=(distances - nearest.values[:, None]) / scale[:, None],
        )

    def check(self, encoder: _GraphUnderTest) -> Tensor:
        """The graph's tokens, if they are right."""
        tokens = encoder.run(self.pixels, expected=self.tokens)
        codes = tokens.reshape(-1, 1).long()
        chosen = codes.clamp(0, self.excess.shape[1] - 1)
        right = (chosen == codes) & (self.excess.gather(1, chosen) <= TOP2_MARGIN)
        num_wrong = int((~right).sum())
        if num_wrong:
            raise encoder.failure(
                self.pixels,
                f"{num_wrong} of {tokens.numel()} tokens differ from the checkpoint's "
                f"outside the top-2 margin of {TOP2_MARGIN}",
            )
        return tokens

    def num_inside_margin(self) -> int:
        """Tokens that could go either way."""
        return int((self.excess.kthvalue(2, dim=1).values <= TOP2_MARGIN).sum())


@dataclass(frozen=True, slots=True)
class _DecoderCase:
    tokens: Tensor
    """int32 [B, h, w]."""
    pixels: Tensor
    """The checkpoint's own, uint8 [B, H, W, 3]."""

    def check(self, decoder: _GraphUnderTest) -> int:
        """The greatest difference of a pixel in levels, if it is allowed."""
        pixels = decoder.run(self.tokens, expected=self.pixels)
        difference = int((pixels.int() - self.pixels.int()).abs().max())
        if difference > MAX_PIXEL_DIFFERENCE:
            raise decoder.failure(
                self.tokens,
                f"pixels differ from the checkpoint's by up to {difference} levels of 255, "
                f"and {MAX_PIXEL_DIFFERENCE} is allowed",
            )
        return difference


def _token_grids(cases: Sequence[_EncoderCase], *, codebook_size: int) -> list[Tensor]:
    """Batches of tokens to decode: the images' own, as many at random, and each code's constant grid."""
    own = [case.tokens for case in cases]
    generator = torch.Generator().manual_seed(0)
    random = [
        torch.randint(codebook_size, tokens.shape, dtype=torch.int32, generator=generator) for tokens in own
    ]
    _, height, width = own[0].shape
    codes = torch.arange(codebook_size, dtype=torch.int32)
    constant = codes[:, None, None].expand(-1, height, width).contiguous()
    return [*own, *random, *torch.split(constant, GRIDS_AT_ONCE)]
