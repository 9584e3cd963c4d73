"""Moves over the map against walks of single steps, and straight lines against fractions."""

import math
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest

from kohonen_tokenizer.service.errors import ParameterError, TokenRangeError, TokensError
from kohonen_tokenizer.service.runtime.map_layout import map_coordinates
from kohonen_tokenizer.service.runtime.topology import Topology

OFFSETS = [*range(-9, 10), 1000, -1001]


def make_topology(map_shape: tuple[int, ...]) -> Topology:
    return Topology(map_coordinates(map_shape), vectors=np.zeros((math.prod(map_shape), 1), dtype=np.float32))


def walk(place: int, *, offset: int, side: int, edge: str) -> int:
    """`offset` single steps along one axis from `place`, stopping or turning round at the ends."""
    direction = 1 if offset > 0 else -1
    for _ in range(abs(offset)):
        if not 0 <= place + direction < side:
            if edge == "clamp" or side == 1:
                continue
            direction = -direction
        place += direction
    return place


@pytest.mark.parametrize("edge", ["clamp", "reflect"])
def test_on_a_line(edge: Any) -> None:
    for side, offset in product((1, 2, 3, 7), OFFSETS):
        moved = make_topology((side,)).perturb(np.arange(side), offset=(offset,), edge=edge)
        assert moved.tolist() == [walk(k, offset=offset, side=side, edge=edge) for k in range(side)], (
            side,
            offset,
        )


@pytest.mark.parametrize("edge", ["clamp", "reflect"])
@pytest.mark.parametrize("map_shape", [(3, 4), (1, 5), (5, 1)])
def test_on_a_plane_x_is_the_column(map_shape: tuple[int, int], edge: Any) -> None:
    rows, columns = map_shape
    tokens = np.arange(rows * columns).reshape(rows, columns)
    for dx, dy in product((-7, -1, 0, 2, 5), repeat=2):
        moved = make_topology(map_shape).perturb(tokens, offset=(dx, dy), edge=edge)
        expected = [
            [
                walk(y, offset=dy, side=rows, edge=edge) * columns
                + walk(x, offset=dx, side=columns, edge=edge)
                for x in range(columns)
            ]
            for y in range(rows)
        ]
        assert moved.tolist() == expected
        assert moved.dtype == np.int32


def test_reflect_is_the_rule_of_numpy_pad() -> None:
    padded = np.pad(np.arange(4), 20, mode="reflect")
    for offset in range(-17, 18):
        moved = make_topology((4,)).perturb(np.arange(4), offset=(offset,), edge="reflect")
        assert np.array_equal(moved, padded[20 + offset : 24 + offset])


@pytest.mark.parametrize("offset", [10**30, -(10**30)])
def test_an_offset_of_any_size(offset: int) -> None:
    topology = make_topology((3, 4))
    clamped = topology.perturb(np.array([5]), offset=(offset, 0))
    assert clamped.tolist() == [7 if offset > 0 else 4]
    # Columns come back after 6 steps, rows after 4; the place of token 5 is (1, 1).
    x, y = ((1 + offset % 6) % 6, (1 + offset % 4) % 4)
    reflected = topology.perturb(np.array([5]), offset=(offset, offset), edge="reflect")
    assert reflected.tolist() == [min(y, 4 - y) * 4 + min(x, 6 - x)]


def test_no_offset_moves_nothing_and_tokens_may_have_any_shape_and_type() -> None:
    tokens = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    moved = make_topology((3, 4)).perturb(tokens, offset=(0, 0), edge="reflect")
    assert np.array_equal(moved, tokens)
    assert make_topology((3, 4)).perturb(tokens[:0], offset=(1, 1)).shape == (0, 2, 2)


@pytest.mark.parametrize(
    ("tokens", "parameters", "error", "reason"),
    [
        ([0], {"offset": (1,)}, ParameterError, r"offset has 1 steps and the map 2 axes; give \(dx, dy\)"),
        ([0], {"offset": (1, 1), "edge": "wrap"}, ParameterError, "edge is 'wrap'"),
        ([0, -1], {"offset": (1, 1)}, TokenRangeError, r"token -1 at \[1\] is outside 0 to 11"),
        ([0.5], {"offset": (1, 1)}, TokensError, "tokens are float64"),
    ],
)
def test_moves_that_cannot_be(tokens: Any, parameters: Any, error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason):
        make_topology((3, 4)).perturb(np.array(tokens), **parameters)


@pytest.mark.parametrize("map_shape", [(3, 4), (7, 9), (1, 5), (30,)])
@pytest.mark.parametrize("num_steps", [2, 3, 4, 7, 50])
def test_a_path_is_the_rounded_straight_line(map_shape: tuple[int, ...], num_steps: int) -> None:
    num_tokens, columns = math.prod(map_shape), map_shape[-1]
    random = np.random.default_rng(num_steps)
    start, end = random.integers(0, num_tokens, size=(2, 3, 4))
    path = make_topology(map_shape).interpolate(start, end, num_steps=num_steps)
    assert path.shape == (num_steps, 3, 4)
    assert path.dtype == np.int32
    for step, row, column in np.ndindex(path.shape):
        part = Fraction(step, num_steps - 1)
        place = [
            math.floor(a + (b - a) * part + Fraction(1, 2))
            for a, b in zip(
                divmod(int(start[row, column]), columns), divmod(int(end[row, column]), columns), strict=True
            )
        ]
        assert path[step, row, column] == place[0] * columns + place[1]


def test_a_path_ends_where_it_must_and_leads_back_the_same_way() -> None:
    topology = make_topology((16, 32))
    start, end = np.random.default_rng(0).integers(0, 512, size=(2, 8, 8))
    there = topology.interpolate(start, end, num_steps=9)
    assert np.array_equal(there[0], start)
    assert np.array_equal(there[-1], end)
    assert np.array_equal(there[::-1], topology.interpolate(end, start, num_steps=9))


def test_the_middle_between_two_nodes_goes_to_the_greater_one() -> None:
    path = make_topology((4,)).interpolate(np.array([0, 3]), np.array([1, 0]), num_steps=3)
    assert path.tolist() == [[0, 3], [1, 2], [1, 0]]


@pytest.mark.parametrize(
    ("start", "end", "num_steps", "error", "reason"),
    [
        ([0], [1], 1, ParameterError, "1 steps were asked for; give 2 or more"),
        ([0], [1, 2], 2, TokensError, r"tokens \[1\] to \[2\]; give two of one shape"),
        ([0], [12], 2, TokenRangeError, "token 12"),
    ],
)
def test_paths_that_cannot_be(
    start: Any, end: Any, num_steps: int, error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        make_topology((3, 4)).interpolate(np.array(start), np.array(end), num_steps=num_steps)
