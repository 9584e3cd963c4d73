"""The study's results as a table and two plots."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..prior.pictures import png
from .methods import METHODS, Method
from .robustness import RATES, Flip
from .token_sets import TOKEN_SETS, TokenSet

Baselines = Mapping[TokenSet, Mapping[str, float]]
Flips = Mapping[str, Mapping[Flip, Sequence[Sequence[float]]]]


def table(results: Sequence[Mapping[str, Any]], *, baselines: Baselines) -> str:
    """Held-out bits per token in Markdown, mean and standard deviation over the seeds.

    In brackets the difference from plain, run by run of one seed, which sees the same batches.
    """
    lines = [
        f"| | {' | '.join(TOKEN_SETS)} |",
        f"|---|{'---|' * len(TOKEN_SETS)}",
    ]
    for name in next(iter(baselines.values())):
        lines.append(f"| {name} | {' | '.join(f'{baselines[tokens][name]:.3f}' for tokens in TOKEN_SETS)} |")
    for method in METHODS:
        cells = [_cell(results, method=method, token_set=token_set) for token_set in TOKEN_SETS]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def gains_plot(results: Sequence[Mapping[str, Any]]) -> bytes:
    """Each method's difference from plain in bits per token, a dot a seed, as a PNG."""
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    methods = [method for method in METHODS if method != "plain"]
    for number, token_set in enumerate(TOKEN_SETS):
        for place, method in enumerate(methods):
            differences = _bits(results, method, token_set) - _bits(results, "plain", token_set)
            places = np.full(len(differences), place + (number - 1) * 0.2)
            label = token_set if place == 0 else None
            axes.plot(places, differences, "o", color=f"C{number}", label=label)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(methods)), methods)
    axes.set_ylabel("bits per token more than plain")
    axes.legend(title="tokens")
    return png(figure)


def robustness_plot(flips: Flips) -> bytes:
    """PSNR by the share of wrong tokens, for each model and kind of flip, as a PNG."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for color, (model, by_flip) in enumerate(flips.items()):
        for style, (flip, values) in zip(("--", "-"), by_flip.items(), strict=True):
            label = f"{model}, {flip}"
            axes.plot(np.array(RATES) * 100, np.mean(values, axis=0), style, color=f"C{color}", label=label)
    axes.set(xlabel="tokens replaced, %", ylabel="PSNR of the decoded image, dB")
    axes.legend()
    return png(figure)


def robustness_table(flips: Flips) -> str:
    """The same in Markdown, mean over the seeds."""
    rates = " | ".join(f"{rate:.0%}" for rate in RATES)
    lines = [f"| PSNR in dB with so many tokens replaced | {rates} |", f"|---|{'---|' * len(RATES)}"]
    for model, by_flip in flips.items():
        for flip, values in by_flip.items():
            cells = " | ".join(f"{value:.2f}" for value in np.mean(values, axis=0))
            lines.append(f"| {model}, {flip} | {cells} |")
    return "\n".join(lines) + "\n"


def _cell(results: Sequence[Mapping[str, Any]], *, method: Method, token_set: TokenSet) -> str:
    bits = _bits(results, method, token_set)
    text = _spread(bits, digits=".3f")
    if method == "plain":
        return text
    return f"{text} ({_spread(bits - _bits(results, 'plain', token_set), digits='+.3f')})"


def _bits(results: Sequence[Mapping[str, Any]], method: Method, token_set: TokenSet) -> np.ndarray:
    """Held-out bits per token of the runs, by seed."""
    chosen = [r for r in results if r["method"] == method and r["token_set"] == token_set]
    return np.array([r["held_out_bits"] for r in sorted(chosen, key=lambda result: result["seed"])])


def _spread(values: np.ndarray, *, digits: str) -> str:
    """Mean and standard deviation; the mean alone of a single value, which has none."""
    mean = f"{values.mean():{digits}}"
    return mean if len(values) == 1 else f"{mean} ± {values.std(ddof=1):.3f}"
