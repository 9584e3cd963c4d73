"""Ranks that train together are one process with the whole batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kohonen_tokenizer.training.checkpoint import LevelUsage, Validation, load_checkpoint
from kohonen_tokenizer.training.data import load_splits
from kohonen_tokenizer.training.distributed import Ranks, device_of_rank
from kohonen_tokenizer.training.errors import ConfigError
from kohonen_tokenizer.training.trainer import Trainer

from .rank_processes import NUM_STEPS

PROGRAM = Path(__file__).parent / "rank_processes.py"


@pytest.fixture
def config(small_config):
    """Three validation batches: some ranks of two have more of them than others, and of four one has none."""
    return small_config.from_dict(small_config.to_dict() | {"validation_batch_size": 16})


@pytest.fixture(scope="module")
def out(photo_folder, tmp_path_factory):
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture
def ranks_results(config, photo_folder, out):
    """The folder with what rank_processes.py has left; it runs once."""
    if not (out / "recipe.json").exists():
        (out / "recipe.json").write_text(json.dumps(config.to_dict()))
        command = [sys.executable, str(PROGRAM), str(out / "recipe.json"), str(photo_folder), str(out)]
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        done = subprocess.run(
            command, env=os.environ | one_thread, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
    return out


def load(path):
    with torch.serialization.safe_globals([LevelUsage, Validation]):
        return torch.load(path)


@pytest.mark.parametrize("size", [2, 4])
def test_all_ranks_have_the_same_model_bit_for_bit(ranks_results, size):
    first, *others = (load(ranks_results / f"{size}-{rank}.pt") for rank in range(size))
    for other in others:
        assert other["losses"] == first["losses"]
        assert other["validation"] == first["validation"]
        for name, tensor in first["state"].items():
            assert torch.equal(other["state"][name], tensor), name


@pytest.mark.parametrize("size", [2, 4])
def test_ranks_train_as_one_process_does(ranks_results, config, photo_folder, size):
    """Sums in another order differ in the last bits, some 1e-7 of float32, and ten steps magnify that.

    Local updates, or rank 0's alone, would be off from the second step on by percents.
    """
    alone = Trainer(config, load_splits(config.data, photo_folder), device=torch.device("cpu"))
    ranks = load(ranks_results / f"{size}-0.pt")
    assert len(ranks["losses"]) == NUM_STEPS
    for reconstruction, commitment, psnr in ranks["losses"]:
        result = alone.step()
        assert reconstruction == pytest.approx(result.reconstruction_loss.item(), rel=1e-4)
        assert commitment == pytest.approx(result.commitment_loss.item(), rel=1e-4)
        assert psnr == pytest.approx(result.psnr.item(), abs=1e-3)
    validation = alone.validate()
    assert ranks["validation"].loss == pytest.approx(validation.loss, rel=1e-4)
    assert ranks["validation"].psnr == pytest.approx(validation.psnr, abs=1e-3)
    (used,) = [level.codes_used for level in validation.levels.values()]
    assert ranks["validation"].levels["tokens"].codes_used == used
    assert ranks["state"]["quantizer.step"] == NUM_STEPS
    torch.testing.assert_close(
        ranks["state"]["quantizer.codebook"], alone.model.quantizer.codebook, rtol=1e-3, atol=1e-5
    )


def test_a_signal_to_one_rank_stops_all_and_they_carry_on_together(ranks_results, config):
    for rank in range(2):
        assert (ranks_results / f"stopped-{rank}").read_text().startswith("stopped at step 3 of 8")
        assert (ranks_results / f"finished-{rank}").read_text().endswith("run/checkpoints/step-00000008")
    carried_on, unbroken = (load_checkpoint(ranks_results / name) for name in ("run", "unbroken"))
    assert carried_on.weights_sha256 == unbroken.weights_sha256
    assert carried_on.validations == unbroken.validations


def test_a_rank_that_waits_for_one_that_failed_says_so_in_one_line(ranks_results):
    assert (ranks_results / "failed-0").read_text() == "no images"
    message = (ranks_results / "failed-1").read_text()
    assert message.startswith("rank 1 of 2 waits for one that has ended and said why (")
    assert "\n" not in message


def test_a_batch_is_cut_into_equal_shares():
    indices = torch.arange(12)
    shares = [Ranks(rank=rank, size=3).share(indices).tolist() for rank in range(3)]
    assert shares == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    with pytest.raises(ConfigError, match="batch_size 12: must be a multiple of the 5 processes"):
        Ranks(rank=0, size=5).share(indices)


def test_a_process_alone_sums_nothing():
    tensor = torch.tensor([1.0, 2.0])
    assert Ranks().mean_(tensor).tolist() == [1, 2]
    assert Ranks().any(True)
    assert not Ranks().any(False)
    assert Ranks().agree(7)


def test_each_rank_takes_a_gpu_of_its_own(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert device_of_rank("cuda") == "cuda"
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert [device_of_rank(name) for name in ("cuda", "cuda:1", "cpu")] == ["cuda:3", "cuda:1", "cpu"]
