import threading

import numpy as np
import pytest

from kohonen_tokenizer.service.runtime.buckets import BUCKETS, BucketedGraph, Piece, split_into_buckets
from kohonen_tokenizer.service.runtime.gpu_thread import exclusive_gpu


class Doubling:
    """Stands for a graph that doubles its rows [size, 2]; remembers its runs."""

    def __init__(self, size: int) -> None:
        self.source = np.full((size, 2), -1)
        self.target = np.full((size, 2), -1)
        self.runs: list[np.ndarray] = []
        self.fails = False

    def run(self) -> None:
        assert exclusive_gpu.locked()
        if self.fails:
            raise RuntimeError("the GPU is on fire")
        self.runs.append(self.source.copy())
        self.target[...] = 2 * self.source


@pytest.fixture
def batches() -> list[Doubling]:
    return [Doubling(size) for size in (1, 4, 16)]


def rows(count: int) -> np.ndarray:
    return np.arange(2 * count).reshape(count, 2)


@pytest.mark.parametrize(
    ("num_rows", "pieces"),
    [
        (1, [Piece(0, 1, 1)]),
        (2, [Piece(0, 2, 4)]),
        (4, [Piece(0, 4, 4)]),
        (5, [Piece(0, 5, 16)]),
        (16, [Piece(0, 16, 16)]),
        (17, [Piece(0, 16, 16), Piece(16, 17, 1)]),
        (35, [Piece(0, 16, 16), Piece(16, 32, 16), Piece(32, 35, 4)]),
    ],
)
def test_a_batch_goes_where_it_fits(num_rows: int, pieces: list[Piece]) -> None:
    assert list(split_into_buckets(num_rows, sizes=(1, 4, 16))) == pieces


@pytest.mark.parametrize("num_rows", [*range(1, 19), 48, 49])
def test_every_row_comes_back_once_and_in_order(batches: list[Doubling], num_rows: int) -> None:
    np.testing.assert_array_equal(BucketedGraph(batches)(rows(num_rows)), 2 * rows(num_rows))


def test_each_size_is_run_once_before_the_first_batch(batches: list[Doubling]) -> None:
    graph = BucketedGraph(batches)
    assert [len(batch.runs) for batch in batches] == [1, 1, 1]
    graph(rows(3))
    assert [len(batch.runs) for batch in batches] == [1, 2, 1]


def test_a_result_outlives_the_next_run(batches: list[Doubling]) -> None:
    graph = BucketedGraph(batches)
    first = graph(rows(3))
    graph(rows(3) + 100)
    np.testing.assert_array_equal(first, 2 * rows(3))


def test_a_run_that_fails_leaves_the_gpu_to_others(batches: list[Doubling]) -> None:
    graph = BucketedGraph(batches)
    batches[1].fails = True
    with pytest.raises(RuntimeError, match="on fire"):
        graph(rows(4))
    batches[1].fails = False
    np.testing.assert_array_equal(graph(rows(4)), 2 * rows(4))


def test_two_graphs_never_run_at_once(batches: list[Doubling]) -> None:
    graphs = [BucketedGraph(batches), BucketedGraph([Doubling(1)])]
    threads = [threading.Thread(target=graph, args=(rows(33),)) for graph in graphs for _ in range(3)]
    with exclusive_gpu:
        for thread in threads:
            thread.start()
        num_runs = sum(len(batch.runs) for batch in batches)
        assert num_runs == 3, "only the runs before the first batch"
    for thread in threads:
        thread.join()


def test_the_buckets_ascend_from_a_single_image() -> None:
    assert BUCKETS[0] == 1
    assert list(BUCKETS) == sorted(set(BUCKETS))
