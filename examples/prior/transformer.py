"""A small ImageGPT of transformers: its training, its bits per token, its samples.

B images, N tokens of an image, K codebook_size. Token K is the start symbol, which stands before the first.
"""

import math
from collections.abc import Callable, Iterator
from itertools import chain, repeat

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import ImageGPTConfig, ImageGPTForCausalImageModeling

from .token_dataset import TokenDataset

Loss = Callable[[Tensor, Tensor], Tensor]
"""Of logits [M, K] and tokens [M]: a number."""

_EVALUATION_BATCH = 128


def image_gpt(
    *, codebook_size: int, num_tokens: int, hidden: int, num_layers: int, num_heads: int
) -> ImageGPTForCausalImageModeling:
    """A decoder-only transformer for images of `num_tokens`, with weights at random."""
    return ImageGPTForCausalImageModeling(
        ImageGPTConfig(
            vocab_size=codebook_size + 1,
            n_positions=num_tokens,
            n_embd=hidden,
            n_layer=num_layers,
            n_head=num_heads,
            # Runs of this length see an image about once: there is nothing to regularize.
            attn_pdrop=0.0,
            embd_pdrop=0.0,
            resid_pdrop=0.0,
        )
    )


def next_token_logits(model: ImageGPTForCausalImageModeling, tokens: Tensor) -> Tensor:
    """Logits [B, N, K] of each of `tokens` int64 [B, N], given those before it."""
    start = tokens.new_full((len(tokens), 1), model.config.vocab_size - 1)
    logits: Tensor = model(input_ids=torch.cat([start, tokens[:, :-1]], dim=1), use_cache=False).logits
    return logits


def training_steps(
    model: ImageGPTForCausalImageModeling,
    images: TokenDataset,
    *,
    num_steps: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    loss_of: Loss = F.cross_entropy,
) -> Iterator[float]:
    """Train `model` by AdamW, step by step; yields the loss of each step, in nats.

    The rate rises over the first tenth of the steps to `learning_rate`, and falls along a cosine to zero.
    """
    loader = DataLoader(
        images,
        batch_size=batch_size,
        shuffle=True,
        drop_last=True,
        generator=torch.Generator().manual_seed(seed),
        # The dataset gives whole batches.
        collate_fn=lambda batch: batch,
    )
    batches = chain.from_iterable(repeat(loader))
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=learning_rate, total_steps=num_steps, pct_start=0.1, cycle_momentum=False
    )
    for _ in range(num_steps):
        model.train()
        tokens = next(batches)
        loss = loss_of(next_token_logits(model, tokens).flatten(0, 1), tokens.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        yield float(loss.detach())


@torch.inference_mode()
def bits_per_token(model: ImageGPTForCausalImageModeling, images: TokenDataset) -> float:
    """Mean of -log2 of the probability that `model` gives to each token of `images`."""
    model.eval()
    nats = 0.0
    for tokens in torch.from_numpy(images.tokens.astype("int64")).split(_EVALUATION_BATCH):
        logits = next_token_logits(model, tokens).flatten(0, 1)
        nats += float(F.cross_entropy(logits, tokens.flatten(), reduction="sum"))
    return nats / images.tokens.size / math.log(2)


@torch.inference_mode()
def sample(
    model: ImageGPTForCausalImageModeling, *, num_images: int, temperature: float, seed: int
) -> Tensor:
    """Tokens int64 [B, N] of new images, each token drawn from all that the model gives a chance."""
    model.eval()
    torch.manual_seed(seed)
    start = torch.full((num_images, 1), model.config.vocab_size - 1)
    tokens: Tensor = model.generate(
        input_ids=start,
        attention_mask=torch.ones_like(start),
        max_new_tokens=model.config.n_positions,
        do_sample=True,
        top_k=0,
        temperature=temperature,
    )
    return tokens[:, 1:]
