"""Images to tokens to a transformer to new images: encode, train, sample, decode over HTTP.

From the root of the repository: python -m examples.prior IMAGES --out runs/prior
"""

import json
from pathlib import Path
from typing import Annotated

import torch
import typer
from tqdm import tqdm

from kohonen_tokenizer.atomic_file import write_atomically
from kohonen_tokenizer_client import Client

from .baselines import bigram_bits, uniform_bits, unigram_bits
from .encoding import encoded
from .pictures import bits_plot, sheet
from .tokenizer_service import serve
from .transformer import bits_per_token, image_gpt, sample, training_steps

_EVALUATIONS = 10


def main(
    images: Annotated[str, typer.Argument(help="A folder of images, or another source that encode takes.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder for tokens, model and pictures.", file_okay=False)],
    bundle: Annotated[Path, typer.Option(help="The tokenizer.")] = Path("bundles/cifar10-ksom-512"),
    num_held_out: Annotated[int, typer.Option(min=1, help="Images that are only judged by.")] = 2_000,
    steps: Annotated[int, typer.Option(min=10, help="Steps of training.")] = 1_000,
    batch_size: Annotated[int, typer.Option(min=1, help="Images of a step.")] = 64,
    hidden: Annotated[int, typer.Option(min=8, help="Width of the transformer.")] = 128,
    layers: Annotated[int, typer.Option(min=1, help="Its layers.")] = 4,
    heads: Annotated[int, typer.Option(min=1, help="Its heads of attention.")] = 4,
    learning_rate: Annotated[float, typer.Option(help="The highest rate of AdamW.")] = 3e-3,
    num_samples: Annotated[int, typer.Option(min=1, help="New images.")] = 64,
    temperature: Annotated[float, typer.Option(help="Below 1: likelier, less varied images.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of weights, batches and samples.")] = 0,
) -> None:
    """Train a small transformer on the tokens of IMAGES; OUT gets samples.png, bits.png and bits.json."""
    out.mkdir(parents=True, exist_ok=True)
    dataset = encoded(images, bundle=bundle, folder=out / "tokens")
    train, held_out = dataset.split(num_held_out=num_held_out)
    baselines = {
        "uniform": uniform_bits(held_out),
        "unigram": unigram_bits(train, held_out),
        "2-D bigram": bigram_bits(train, held_out),
    }

    torch.manual_seed(seed)
    height, width = dataset.latent_grid
    model = image_gpt(
        codebook_size=dataset.codebook_size,
        num_tokens=height * width,
        hidden=hidden,
        num_layers=layers,
        num_heads=heads,
    )
    losses = training_steps(
        model, train, num_steps=steps, batch_size=batch_size, learning_rate=learning_rate, seed=seed
    )
    curve: dict[int, float] = {}
    with tqdm(losses, total=steps, unit="step", dynamic_ncols=True) as bar:
        for step, _ in enumerate(bar, start=1):
            if step % (steps // _EVALUATIONS) == 0 or step == steps:
                curve[step] = bits_per_token(model, held_out)
                bar.set_postfix_str(f"held-out bits per token {curve[step]:.3f}")
    result = {
        "baselines": baselines,
        "transformer": curve,
        "num_train": len(train),
        "num_held_out": len(held_out),
    }
    write_atomically(out / "bits.json", json.dumps(result, indent=2).encode() + b"\n")
    write_atomically(out / "bits.png", bits_plot(curve, baselines=baselines))
    model.save_pretrained(out / "model")

    tokens = sample(model, num_images=num_samples, temperature=temperature, seed=seed)
    grids = tokens.numpy().reshape(-1, height, width)
    with serve(bundle) as url, Client(url) as client:
        write_atomically(out / "samples.png", sheet(client.decode(grids), columns=8))
    for name, bits in (baselines | {"transformer": curve[steps]}).items():
        typer.echo(f"{name:<12} {bits:.3f} bits per token")
    typer.echo(f"samples in {out / 'samples.png'}")


if __name__ == "__main__":
    typer.run(main)
