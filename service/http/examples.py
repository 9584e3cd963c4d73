"""Example calls that work when pasted, made from the model that is served.

Latent grids and the number of tokens differ from model to model, so no fixed example could work on all.
"""

import base64
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..level_tokens import grids_by_field
from ..runtime.levels import TokenLevel
from ..runtime.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """How to make one call."""

    method: str
    """In lower case, as OpenAPI has it."""
    path: str
    shell: str
    """The call for a shell, with {url} where the service's address belongs, and as in RFC 6570 {?model} or
    {&model} where a model's name does, should it be needed."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Values of parameters in the URL; they work together."""
    bodies: Mapping[str, Any] = field(default_factory=dict)
    """JSON bodies, each by a few words on what it shows."""

    def command(self, base_url: str, *, key: str | None, model: str | None) -> str:
        """The call for a shell that reaches the service at `base_url`, with `key` and `model` if needed."""
        curl = "curl -s" if key is None else f'curl -s -H "Authorization: Bearer {key}"'
        command = self.shell.replace("curl -s", curl).replace("{url}", base_url)
        for mark in "?&":
            command = command.replace(f"{{{mark}model}}", "" if model is None else f"{mark}model={model}")
        return command


def make_examples(tokenizer: Tokenizer, *, name: str) -> list[Example]:
    """An example of each documented call of a service where `tokenizer` is the model `name`."""
    rows = tokenizer.check_tokens({name: _grid(one) for name, one in tokenizer.levels.items()})
    grids = {name: tokens[0].tolist() for name, tokens in grids_by_field(rows, tokenizer=tokenizer).items()}
    image = _jpeg_base64(tokenizer.decode_rows(rows)[0])
    first = next(iter(tokenizer.levels.values())).level
    token = first.codebook_size // 2
    # Where there are several levels, the calls about one map are about the first.
    level = {} if len(tokenizer.levels) == 1 else {"level": first.name}
    and_level = "".join(f"&level={name}" for name in level.values())
    only_level = "?" + and_level[1:] + "{&model}" if level else "{?model}"

    post_json = "curl -s -H 'Content-Type: application/json'"
    post_png = "curl -s -H 'Content-Type: image/png'"
    encode_map = (
        f"curl -s '{{url}}/map.png{only_level}' | {post_png} --data-binary @- '{{url}}/encode{{?model}}'"
    )
    return [
        Example(
            method="post",
            path="/encode",
            shell=encode_map,
            parameters={"resize": "crop"},
            bodies={
                "one image": {"image": image},
                "a data URL": {"image": f"data:image/jpeg;base64,{image}"},
                "several images": {"images": [image, image]},
            },
        ),
        Example(
            method="post",
            path="/decode",
            shell=f"{encode_map} | {post_json} --data-binary @- -o decoded.png '{{url}}/decode{{?model}}'",
            bodies={
                "one grid": grids,
                "several grids": {name: [grid, grid[::-1]] for name, grid in grids.items()},
            },
        ),
        Example(
            method="get",
            path="/neighbors",
            shell=f"curl -s '{{url}}/neighbors?token={token}&radius=1.5{and_level}{{&model}}'",
            parameters={"token": token, "radius": 1.5, **level},
        ),
        Example(
            method="post",
            path="/neighbors",
            shell=f"{post_json} -d '{json.dumps({'token': token, 'k': 1, **level})}' "
            '"{url}/neighbors{?model}"',
            bodies={
                "the eight around": {"token": token, "radius": 1.5, **level},
                "the nearest in the codebook": {"token": token, "k": 1, "by": "codebook", **level},
                "of several tokens": {"tokens": [0, token], "k": 1, **level},
            },
        ),
        *_map_examples(grids, num_axes=len(first.map_shape), level=level, encode_map=encode_map),
        *_protocol_examples({field: [grid] for field, grid in grids.items()}, name=name),
        *(
            Example(method="get", path=path, shell=f"curl -s {{url}}{path}")
            for path in ("/models", "/healthz", "/readyz", "/metrics")
        ),
        Example(
            method="post",
            path="/profile",
            shell="curl -s -X POST '{url}/profile?seconds=5'",
            parameters={"seconds": 5.0},
        ),
        Example(
            method="post",
            path="/models/{name}/load",
            shell=f"curl -s -X POST {{url}}/models/{name}/load",
            parameters={"name": name},
            bodies={"the highest version": {}, "a version by its name": {"version": "2"}},
        ),
        Example(
            method="get",
            path="/codebook",
            shell=f"curl -s '{{url}}/codebook{only_level}'",
            parameters=level,
        ),
        Example(
            method="get",
            path="/map.png",
            shell=f"curl -s -o map.png '{{url}}/map.png{only_level}'",
            parameters=level,
        ),
    ]


def _protocol_examples(grids: Mapping[str, list[Any]], *, name: str) -> list[Example]:
    """An example of each call of the Open Inference Protocol."""
    decoder = f"{name}-decoder"
    request = {
        "inputs": [
            {"name": field, "datatype": "INT32", "shape": np.shape(grid), "data": grid}
            for field, grid in grids.items()
        ]
    }
    body = json.dumps(request, separators=(",", ":"))
    post = f"curl -s -d '{body}' {{url}}"
    return [
        *(
            Example(method="get", path=path, shell=f"curl -s {{url}}{path}")
            for path in ("/v2", "/v2/health/live", "/v2/health/ready")
        ),
        *(
            Example(
                method="get",
                path=path,
                shell=f"curl -s {{url}}{path.format(name=decoder)}",
                parameters={"name": decoder},
            )
            for path in ("/v2/models/{name}", "/v2/models/{name}/ready")
        ),
        Example(
            method="post",
            path="/v2/models/{name}/infer",
            shell=f"{post}/v2/models/{decoder}/infer",
            parameters={"name": decoder},
            bodies={"tokens to pixels": request},
        ),
    ]


def _map_examples(
    grids: Mapping[str, Any], *, num_axes: int, level: Mapping[str, str], encode_map: str
) -> list[Example]:
    """An example of each call about the whole map, or about tokens moved over it.

    Args:
        grids: by what they are called, the grid [h][w] of each level.
        num_axes: of the map of the first.
        level: the parameter that names it; empty where there is one.
        encode_map: a command whose output are tokens.
    """
    and_level = "".join(f"&level={name}" for name in level.values())
    start = grids if level else grids["tokens"]
    end = {name: grid[::-1] for name, grid in grids.items()} if level else grids["tokens"][::-1]
    post_json = "curl -s -H 'Content-Type: application/json'"
    offset = [1] * num_axes
    offset_in_url = "&".join(f"offset={step}" for step in offset)
    path_between = {"from": start, "to": end, "steps": 5}
    path_json = json.dumps(path_between, separators=(",", ":"))
    return [
        Example(
            method="get",
            path="/neighbors/table",
            shell="curl -s -H 'Accept: application/x-safetensors' -o neighbors.safetensors "
            "'{url}/neighbors/table?radius=1.5" + and_level + "{&model}'",
            parameters={"radius": 1.5, **level},
        ),
        Example(
            method="get",
            path="/soft-targets",
            shell="curl -s -H 'Accept: application/x-npy' -o targets.npy "
            "'{url}/soft-targets?sigma=1" + and_level + "{&model}'",
            parameters={"sigma": 1.0, **level},
        ),
        Example(
            method="post",
            path="/soft-targets",
            shell=f"{encode_map} | {post_json} --data-binary @- "
            f"'{{url}}/soft-targets?sigma=1&radius=1.5{and_level}{{&model}}'",
            bodies={
                "weights of all codes": {"tokens": [0, 1], "sigma": 1.0, **level},
                "weights of the nearest of each token in a grid": {
                    **grids,
                    "sigma": 1.0,
                    "radius": 1.5,
                    **level,
                },
            },
        ),
        Example(
            method="post",
            path="/perturb",
            shell=f"{encode_map} | {post_json} -H 'Accept: image/png' --data-binary @- -o perturbed.png "
            f"'{{url}}/perturb?{offset_in_url}{and_level}{{&model}}'",
            bodies={
                "one step along each axis": {**grids, "offset": offset, **level},
                "back from the edge": {
                    **{name: [grid, grid] for name, grid in grids.items()},
                    "offset": offset,
                    "edge": "reflect",
                    **level,
                },
            },
        ),
        Example(
            method="post",
            path="/interpolate",
            shell=f"{post_json} -H 'Accept: image/png' -d '{path_json}' -o path.png "
            "'{url}/interpolate{?model}'",
            bodies={
                "five steps": path_between,
                "as many as it has by default": {"from": start, "to": end},
            },
        ),
    ]


def _grid(one: TokenLevel) -> npt.NDArray[np.int32]:
    """Tokens [1, h, w] of a level: 0, 1, 2, ..."""
    height, width = one.level.latent_grid
    tokens = np.arange(height * width, dtype=np.int32) % one.level.codebook_size
    return tokens.reshape(1, height, width)


def _jpeg_base64(image: Any) -> str:
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="JPEG")
    return base64.b64encode(file.getvalue()).decode()
