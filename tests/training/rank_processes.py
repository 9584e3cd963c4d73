"""Train in several processes and keep what each of them has at the end.

    python rank_processes.py RECIPE_JSON IMAGE_FOLDER OUT

The processes are forked from one that has imported all it needs, and find each other as torchrun's do.
"""

import json
import os
import signal
import socket
import sys
import traceback
from pathlib import Path

import torch

from kohonen_tokenizer.training.config import RunConfig
from kohonen_tokenizer.training.data import load_splits
from kohonen_tokenizer.training.distributed import Ranks, first_rank_first, joined_ranks
from kohonen_tokenizer.training.errors import DataError, RanksError, StoppedError
from kohonen_tokenizer.training.run import run
from kohonen_tokenizer.training.trainer import Trainer

CPU = torch.device("cpu")
NUM_STEPS = 10


def main() -> None:
    recipe, folder, out = sys.argv[1:]
    config = RunConfig.from_dict(json.loads(Path(recipe).read_text()))
    images = load_splits(config.data, Path(folder))
    out = Path(out)

    def train(ranks: Ranks) -> None:
        trainer = Trainer(config, images, device=CPU, ranks=ranks)
        steps = [trainer.step() for _ in range(NUM_STEPS)]
        validation = trainer.validate()
        losses = [[float(s.reconstruction_loss), float(s.commitment_loss), float(s.psnr)] for s in steps]
        content = {"losses": losses, "validation": validation, "state": trainer.model.state_dict()}
        torch.save(content, out / f"{ranks.size}-{ranks.rank}.pt")

    def train_and_stop(ranks: Ranks) -> None:
        """A signal to one rank in its third step; both must stop there."""
        step = Trainer.step

        def step_and_signal(trainer):
            if trainer.step_count == 2 and ranks.rank == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return step(trainer)

        Trainer.step = step_and_signal
        try:
            run(config, images, out=out / "run", device=CPU, ranks=ranks)
        except StoppedError as error:
            (out / f"stopped-{ranks.rank}").write_text(str(error))

    def carry_on(ranks: Ranks) -> None:
        (out / f"finished-{ranks.rank}").write_text(
            str(run(config, images, out=out / "run", device=CPU, ranks=ranks))
        )

    def train_unbroken(ranks: Ranks) -> None:
        run(config, images, out=out / "unbroken", device=CPU, ranks=ranks)

    def fail_alone(ranks: Ranks) -> None:
        """The first rank ends with an error while the other waits for it."""
        try:
            with first_rank_first(ranks):
                if ranks.is_first:
                    raise DataError("no images")
        except (DataError, RanksError) as error:
            (out / f"failed-{ranks.rank}").write_text(str(error))

    for size, work in (
        (2, fail_alone),
        (2, train),
        (4, train),
        (2, train_and_stop),
        (2, carry_on),
        (2, train_unbroken),
    ):
        fork_ranks(size, work)


def fork_ranks(size, work) -> None:
    """Do ``work`` in ``size`` processes and wait for them; one that fails ends this one."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    children = []
    for rank in range(size):
        if (child := os.fork()) == 0:
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            os.environ |= {"WORLD_SIZE": str(size), "RANK": str(rank)}
            status = 1
            try:
                with joined_ranks(CPU) as ranks:
                    work(ranks)
                status = 0
            except BaseException:
                traceback.print_exc()
            os._exit(status)
        children.append(child)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    if any(statuses):
        sys.exit(f"a rank of {size} failed in {work.__name__}")


if __name__ == "__main__":
    main()
