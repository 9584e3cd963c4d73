"""The gate: a graph is written only if it computes what the checkpoint computes.

The reference is the checkpoint in eager PyTorch on the CPU; what is compared with it are the graphs read back
from the bytes that will be written.

B: batch. H, W: pixels. h, w: latent grid. N = B*h*w. K: codebook size. D: code dimension.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from kohonen_tokenizer.service.runtime.manifest import tensor_name
from kohonen_tokenizer.training.autoencoder import QuantizedAutoencoder
from kohonen_tokenizer.training.quantizer import CPU_SEARCH_ROWS, relative_distances

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
"""Grids of every code decoded in one batch: bounds the memory for a large codebook."""


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
    """Tokens compared, all formats and levels together."""

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
def check_parity(model: QuantizedAutoencoder, *, written: Sequence[WrittenGraphs], images: Tensor) -> Parity:
    """Compare ``written`` with ``model`` on ``images`` uint8 [N, H, W, 3], on noise, and on every code.

    Tokens must be equal outside the top-2 margin; inside it the code that a graph chose may be farther than
    the nearest by no more than the margin. Where a level depends on the codes of another, it is judged given
    those that the graph chose there. Pixels, decoded from the images' tokens, from random tokens and from
    grids that have every code, must be within one step of 255. Raises ParityError naming the format, the
    graph and the batch, and ExportError for fewer than ``NUM_IMAGES`` images.
    """
    check_num_images(images)
    noise = noise_images(NUM_IMAGES, size=images.shape[1])
    encoder_cases = [
        _EncoderCase(pixels=pixels, model=model)
        for source in (images[:NUM_IMAGES], noise)
        for pixels in torch.split(source, list(BATCHES))
    ]
    decoder_cases = [
        _DecoderCase(tokens=tokens, pixels=model.decode(tokens))
        for tokens in _token_grids([model.encode(case.pixels) for case in encoder_cases], model=model)
    ]
    num_tokens = num_equal = num_inside = max_difference = 0
    for graphs in written:
        encoder = _GraphUnderTest.of(graphs, "encoder")
        for encoder_case in encoder_cases:
            for agreement in encoder_case.check(encoder):
                num_tokens += agreement.num_tokens
                num_equal += agreement.num_equal
                num_inside += agreement.num_inside_margin
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

    def run(self, *batch: Tensor, expected: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The graph's outputs, which have to have the dtypes and shapes of ``expected``."""
        try:
            result = self.runner(*batch)
        except Exception as error:  # each runtime has errors of its own, and all mean the same here
            raise self.failure(batch[0], f"it does not run ({error})") from None
        outputs = (result,) if isinstance(result, Tensor) else tuple(result)
        found, wanted = (", ".join(map(_describe, tensors)) for tensors in (outputs, expected))
        if found != wanted:
            raise self.failure(batch[0], f"it gives {found}, and not {wanted}")
        return outputs

    def failure(self, batch: Tensor, reason: str) -> ParityError:
        return ParityError(
            f"{self.label}, batch of {len(batch)}: {reason}; nothing is written: "
            f"export with another version of torch (this is {torch.__version__})"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Agreement:
    """How a level's tokens agree with the checkpoint's."""

    num_tokens: int
    num_equal: int
    num_inside_margin: int
    """Tokens that could go either way."""
    num_wrong: int


@dataclass(frozen=True, slots=True)
class _EncoderCase:
    pixels: Tensor
    """uint8 [B, H, W, 3]."""
    model: QuantizedAutoencoder

    def check(self, encoder: _GraphUnderTest) -> list[_Agreement]:
        """How far each level's tokens agree, if they are right."""
        expected = [tokens.int() for tokens in self.model.encode(self.pixels).values()]
        outputs = encoder.run(self.pixels, expected=expected)
        agreements = self._compare(dict(zip(self.model.quantizers, outputs, strict=True)))
        for level, agreement in agreements.items():
            if agreement.num_wrong:
                raise encoder.failure(
                    self.pixels,
                    f"{agreement.num_wrong} of {agreement.num_tokens} {tensor_name(level)} differ from the "
                    f"checkpoint's outside the top-2 margin of {TOP2_MARGIN}",
                )
        return list(agreements.values())

    def _compare(self, tokens: Mapping[str, Tensor]) -> dict[str, _Agreement]:
        """Each level's ``tokens`` with the checkpoint's own, given ``tokens`` on the levels before it."""
        quantizers = self.model.quantizers
        agreements: dict[str, _Agreement] = {}

        def quantize(level: str, latents: Tensor) -> Tensor:
            quantizer = quantizers[level]
            codes = tokens[level].long()
            chosen = codes.clamp(0, quantizer.grid.size - 1)
            excess, second = _excess(latents, quantizer.codebook, chosen=chosen)
            right = (chosen == codes).flatten() & (excess <= TOP2_MARGIN)
            agreements[level] = _Agreement(
                num_tokens=codes.numel(),
                num_equal=int((codes == quantizer(latents).indices).sum()),
                num_inside_margin=int((second <= TOP2_MARGIN).sum()),
                num_wrong=int((~right).sum()),
            )
            return quantizer.lookup(chosen)

        self.model.encode_levels(self.model.normalize(self.pixels), quantize)
        return agreements


def _excess(latents: Tensor, codebook: Tensor, *, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """How much farther than the nearest the chosen code and the second nearest are, float64 [N] both.

    As a top-2 margin is measured, for latents [B, D, h, w] and chosen [B, h, w].
    """
    vectors = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1])
    codebook = codebook.double()
    excesses = []
    for rows, codes in zip(
        torch.split(vectors, CPU_SEARCH_ROWS),
        torch.split(chosen.reshape(-1, 1), CPU_SEARCH_ROWS),
        strict=True,
    ):
        x = rows.double()
        distances = relative_distances(x, codebook)
        nearest = distances.min(1)
        scale = x.square().sum(1) + codebook[nearest.indices].square().sum(1)
        both = torch.cat([distances.gather(1, codes), distances.kthvalue(2, dim=1, keepdim=True).values], 1)
        excesses.append((both - nearest.values[:, None]) / scale[:, None])
    excess, second = torch.cat(excesses).unbind(1)
    return excess, second


@dataclass(frozen=True, slots=True)
class _DecoderCase:
    tokens: dict[str, Tensor]
    """int32 [B, h, w] of each level."""
    pixels: Tensor
    """The checkpoint's own, uint8 [B, H, W, 3]."""

    def check(self, decoder: _GraphUnderTest) -> int:
        """The greatest difference of a pixel in steps of 255, if it is allowed."""
        batch = tuple(self.tokens.values())
        (pixels,) = decoder.run(*batch, expected=[self.pixels])
        difference = int((pixels.int() - self.pixels.int()).abs().max())
        if difference > MAX_PIXEL_DIFFERENCE:
            raise decoder.failure(
                batch[0],
                f"pixels differ from the checkpoint's by up to {difference} levels of 255, "
                f"and {MAX_PIXEL_DIFFERENCE} is allowed",
            )
        return difference


def _token_grids(
    own: Sequence[Mapping[str, Tensor]], *, model: QuantizedAutoencoder
) -> Iterator[dict[str, Tensor]]:
    """Batches of tokens to decode: the images' own, as many at random, and grids that have every code."""
    sizes = {level: quantizer.grid.size for level, quantizer in model.quantizers.items()}
    generator = torch.Generator().manual_seed(0)
    for tokens in own:
        yield {level: grid.int() for level, grid in tokens.items()}
    for tokens in own:
        yield {
            level: torch.randint(sizes[level], grid.shape, dtype=torch.int32, generator=generator)
            for level, grid in tokens.items()
        }
    grids = {level: grid.shape[1:] for level, grid in own[0].items()}
    num_grids = max(math.ceil(sizes[level] / grid.numel()) for level, grid in grids.items())
    for start in range(0, num_grids, GRIDS_AT_ONCE):
        batch = min(GRIDS_AT_ONCE, num_grids - start)
        yield {
            level: (torch.arange(batch * grid.numel(), dtype=torch.int32) + start * grid.numel())
            .remainder(sizes[level])
            .reshape(batch, *grid)
            for level, grid in grids.items()
        }


def _describe(tensor: Tensor) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}"
