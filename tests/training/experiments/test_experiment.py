"""Whole experiments on crops of photographs: trained in processes, judged, written."""

import csv
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kohonen_tokenizer.training.build import build_model
from kohonen_tokenizer.training.build_quantizer import build_quantizer
from kohonen_tokenizer.training.checkpoint import load_checkpoint
from kohonen_tokenizer.training.config import RunConfig
from kohonen_tokenizer.training.data import load_splits
from kohonen_tokenizer.training.errors import CheckpointError, ConfigError, TrainingError
from kohonen_tokenizer.training.evaluation import evaluate
from kohonen_tokenizer.training.experiments.catalog import EXPERIMENTS
from kohonen_tokenizer.training.experiments.experiment import run_experiment
from kohonen_tokenizer.training.experiments.pictures import codebook_picture, moved_picture
from kohonen_tokenizer.training.experiments.runs import plan_runs, train_all
from kohonen_tokenizer.training.experiments.topology_report import as_csv as topology_csv
from kohonen_tokenizer.training.experiments.topology_report import as_markdown as topology_markdown
from kohonen_tokenizer.training.experiments.topology_report import evaluate_runs

STEPS = 4
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def recipe() -> RunConfig:
    return RunConfig.from_dict(
        {
            "name": "photos-test",
            "batch_size": 16,
            "data": {"source": "folder", "name": "photo crops"},
            "model": {
                "hidden": 16,
                "residual_channels": 8,
                "code_dim": 8,
                "quantizer": {"codebook_size": 32, "map_shape": [4, 8]},
            },
        }
    )


@pytest.fixture(scope="module")
def out(recipe: RunConfig, photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of figure5 (EMA-VQ and the map), whose runs figure3 and figure4 share in part or whole."""
    folder = tmp_path_factory.mktemp("experiment")
    run(recipe, "figure5", data=photo_folder, out=folder)
    return folder


def run(
    recipe: RunConfig, name: str, *, data: Path, out: Path, num_seeds: int = 1, steps: int = STEPS
) -> list[Path]:
    return run_experiment(
        name,
        recipe=recipe,
        dataset="cifar10",
        data=data,
        out=out,
        num_seeds=num_seeds,
        steps=steps,
        device="cpu",
        num_parallel=2,
    )


def test_the_table_says_what_the_checkpoints_say(out: Path) -> None:
    rows = list(csv.DictReader(io.StringIO((out / "figure5.csv").read_text())))
    assert [row["model"] for row in rows] == ["EMA-VQ", "KSOM"]
    for row, condition in zip(rows, ("none", "hard"), strict=True):
        validations = load_checkpoint(out / "runs" / condition / "seed-0").validations
        assert float(row["loss"]) == min(validation.loss for validation in validations)
        assert [validation.step for validation in validations] == [1, 2, 3, 4]
    text = (out / "figure5.md").read_text()
    assert f"photo crops, {STEPS} steps of 16 images, 1 seed" in text
    assert "A partial reproduction" in text


def test_the_figure_shows_the_images_and_their_moves(out: Path) -> None:
    with Image.open(out / "figure5.png") as opened:
        pixels = np.asarray(opened.convert("RGB"))
    assert pixels.shape == (675, 1800, 3)
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100


def test_finished_runs_are_used_and_not_made_again(recipe: RunConfig, photo_folder: Path, out: Path) -> None:
    checkpoints = sorted((out / "runs").glob("*/seed-0/checkpoints/*/checkpoint.json"))
    before = {path: path.stat().st_mtime_ns for path in checkpoints}
    written = run(recipe, "figure4", data=photo_folder, out=out)
    assert [path.name for path in written] == ["figure4.csv", "figure4.md", "figure4.png"]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_runs_of_another_recipe_are_refused(recipe: RunConfig, photo_folder: Path, out: Path) -> None:
    other = RunConfig.from_dict(recipe.to_dict() | {"batch_size": 8})
    with pytest.raises(
        CheckpointError, match=r"is another run \(batch_size: 8, not 16\); name another --out"
    ):
        run(other, "figure4", data=photo_folder, out=out)


def test_a_recipe_of_another_method_is_refused(recipe: RunConfig, photo_folder: Path, tmp_path: Path) -> None:
    values = recipe.to_dict()
    values["model"]["quantizer"]["method"] = "gradient"
    with pytest.raises(ConfigError, match="method gradient: the paper compares rules of kohonen"):
        run(RunConfig.from_dict(values), "table2", data=photo_folder, out=tmp_path)


def test_runs_begun_at_another_length_are_refused(recipe: RunConfig, out: Path) -> None:
    """They were validated at other steps, and could not be compared."""
    condition = EXPERIMENTS["figure5"].rows[0].condition
    (longer,) = plan_runs([condition], recipe=recipe, num_seeds=1, steps=90, out=out)
    with pytest.raises(CheckpointError, match="was begun as a run of another length"):
        longer.checkpoint()


def test_each_method_gets_a_run_and_softmax_is_cold_at_its_end(recipe: RunConfig, tmp_path: Path) -> None:
    conditions = [row.condition for row in EXPERIMENTS["methods"].rows]
    runs = plan_runs(conditions, recipe=recipe, num_seeds=1, steps=700, out=tmp_path)
    quantizers = {one.condition.name: one.config.model.quantizer for one in runs}
    methods = ["kohonen", "kohonen", "gradient", "som_vae", "softmax", "residual"]
    assert [quantizer.method for quantizer in quantizers.values()] == methods
    assert quantizers["softmax"].anneal_steps == 700
    assert len({type(build_quantizer(one.config.model)) for one in runs}) == 5


def test_an_unknown_name_is_refused(recipe: RunConfig, photo_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="experiment 'table9': there is none; use one of table1,"):
        run(recipe, "table9", data=photo_folder, out=tmp_path)


@pytest.fixture(scope="module")
def recipe_of_two_levels(recipe: RunConfig) -> RunConfig:
    values = recipe.to_dict()
    values["model"]["architecture"] = "vqvae2"
    return RunConfig.from_dict(values)


def test_figures_of_two_levels_show_each_of_them(
    recipe_of_two_levels: RunConfig, photo_folder: Path, tmp_path: Path
) -> None:
    run(recipe_of_two_levels, "figure8", data=photo_folder, out=tmp_path)
    run(recipe_of_two_levels, "figure7", data=photo_folder, out=tmp_path)
    run(recipe_of_two_levels, "figure9", data=photo_folder, out=tmp_path)
    pictures = {}
    for name in ("figure7", "figure8", "figure9"):
        with Image.open(tmp_path / f"{name}.png") as opened:
            pictures[name] = np.asarray(opened.convert("RGB"))
    assert pictures["figure7"].shape == (840, 3000, 3)
    # Of two images.
    assert pictures["figure8"].shape == pictures["figure9"].shape
    assert (pictures["figure8"] != pictures["figure9"]).any()
    # Pillow reads no text: what is drawn is judged by the picture functions' own tests.
    for picture in pictures.values():
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50


def test_topology_says_what_the_evaluations_say(recipe: RunConfig, photo_folder: Path, out: Path) -> None:
    table = EXPERIMENTS["figure5"]
    conditions = [row.condition for row in table.rows]
    runs = plan_runs(conditions, recipe=recipe, num_seeds=1, steps=STEPS, out=out)
    pixels = load_splits(recipe.data, photo_folder).validation
    evaluations = evaluate_runs(runs, pixels, device="cpu")
    (expected,) = [evaluate(one.checkpoint(), pixels, split="validation", device=CPU) for one in runs[1:]]
    row = list(csv.DictReader(io.StringIO(topology_csv(table, evaluations))))[1]
    level = expected.levels["tokens"]
    assert (row["model"], row["seed"]) == ("KSOM", "0")
    assert float(row["loss"]) == expected.loss
    assert float(row["topographic_error_8"]) == level.map.topographic_error_8
    assert float(row["trustworthiness"]) == level.trustworthiness
    assert float(row["psnr_offset_2"]) == level.psnr_by_offset[2]
    text = topology_markdown(table, evaluations, config=runs[0].config, made_with="here")
    (line,) = [line for line in text.splitlines() if line.startswith("| KSOM |")]
    assert f"| {expected.psnr:.1f} |" in line
    assert f"| {level.map.topographic_error_8:.3f} |" in line
    # Done once; and not believed of other images or weights.
    files = [one.out / "topology.json" for one in runs]
    before = [file.stat().st_mtime_ns for file in files]
    assert evaluate_runs(runs, pixels, device="cpu") == evaluations
    assert [file.stat().st_mtime_ns for file in files] == before
    files[0].write_bytes(files[1].read_bytes())
    assert evaluate_runs(runs, pixels, device="cpu") == evaluations
    (of_others,) = evaluate_runs(runs[1:], pixels[1:], device="cpu")["hard"]
    assert of_others["num_images"] == len(pixels) - 1


def test_a_figure_of_two_levels_needs_a_recipe_of_two(
    recipe: RunConfig, photo_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="figure7: shows two levels, and the recipe photos-test has one"):
        run(recipe, "figure7", data=photo_folder, out=tmp_path)


def test_the_papers_figures_are_those_of_the_recipes_data(tmp_path: Path) -> None:
    faces = RunConfig.from_dict({"data": {"source": "faces", "name": "faces"}})
    with pytest.raises(
        ConfigError, match="dataset cifar10: the recipe kohonen-vae is of faces; leave --dataset out"
    ):
        run(faces, "table2", data=tmp_path, out=tmp_path)


def test_finished_runs_need_no_images(recipe: RunConfig, out: Path, tmp_path: Path) -> None:
    """Unless a figure shows some."""
    written = run(recipe, "figure4", data=tmp_path / "gone", out=out)
    assert [path.name for path in written] == ["figure4.csv", "figure4.md", "figure4.png"]


def test_only_the_moved_level_changes(recipe_of_two_levels: RunConfig) -> None:
    model = build_model(recipe_of_two_levels.model, seed=0).eval()
    pixels = torch.randint(256, (1, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    indices = model.encode(pixels)
    grid = model.quantizers["top"].grid
    picture = moved_picture(model, pixels, offsets=range(2), grids={"top": grid})
    moved = model.decode({"top": grid.shift(indices["top"], 1), "bottom": indices["bottom"]})
    assert torch.equal(picture[:, 32:64], model.decode(indices)[0])
    assert torch.equal(picture[:, 64:], moved[0])
    assert not torch.equal(picture[:, 64:], picture[:, 32:64])


def test_a_codebook_can_be_shown_beside_any_code_of_the_other_level(recipe_of_two_levels: RunConfig) -> None:
    model = build_model(recipe_of_two_levels.model, seed=0).eval()
    picture = codebook_picture(model, level="top", image_size=32, fixed={"bottom": 9})
    indices = {"top": torch.full((1, 4, 4), 13), "bottom": torch.full((1, 8, 8), 9)}
    with torch.inference_mode():
        tile = model.decode(indices)[0]
    # Code 13 of a map of 4 rows and 8 columns lies in row 1, column 5.
    assert torch.equal(picture[32:64, 160:192], tile)


def test_the_command_takes_an_archive_of_images(tmp_path: Path) -> None:
    archive = tmp_path / "images.tar"
    archive.touch()
    command = [sys.executable, "-m", "kohonen_tokenizer", "experiment", "table9", "--data", str(archive)]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (
        2,
        f"error: experiment 'table9': there is none; use one of {', '.join(EXPERIMENTS)}\n",
    )


def test_a_run_that_fails_is_named_with_its_reason(
    recipe: RunConfig, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    condition = EXPERIMENTS["figure4"].rows[0].condition
    runs = plan_runs([condition], recipe=recipe, num_seeds=1, steps=2, out=tmp_path)
    with pytest.raises(TrainingError, match=r"1 of 1 runs failed \(.*none/seed-0\); their file log says why"):
        train_all(runs, data=tmp_path / "nothing", device="cpu", num_parallel=1)
    assert "no such folder; name a folder of images" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("send", "sent"),
    [(os.kill, signal.SIGTERM), (os.killpg, signal.SIGTERM), (os.kill, signal.SIGKILL)],
    ids=["stopped", "stopped with all of its processes", "killed"],
)
def test_a_stopped_or_killed_experiment_saves_its_runs(
    photo_folder: Path, tmp_path: Path, send: Callable[[int, int], None], sent: signal.Signals
) -> None:
    toml = tmp_path / "recipe.toml"
    toml.write_text(
        'name = "photos-test"\nbatch_size = 16\n[data]\nsource = "folder"\nname = "photo crops"\n'
        "[model]\nhidden = 16\nresidual_channels = 8\ncode_dim = 8\n"
        "[model.quantizer]\ncodebook_size = 32\nmap_shape = [4, 8]\n"
    )
    out = tmp_path / "out"
    command = [sys.executable, "-m", "kohonen_tokenizer", "experiment", "figure4", "--recipe", str(toml)]
    command += ["--data", str(photo_folder), "--out", str(out), "--seeds", "1", "--steps", "100000"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            checkpoints = out / "runs" / "none" / "seed-0" / "checkpoints"
            log = out / "runs" / "none" / "seed-0" / "log"
            deadline = time.monotonic() + 120
            while not (log.is_file() and "step/s" in log.read_text()):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
            send(process.pid, sent)
            # Until its runs, which have its stderr, are gone too.
            _, errors = process.communicate(timeout=120)
        finally:
            process.kill()
    if sent == signal.SIGTERM:
        assert process.returncode == 2
        assert "error: stopped; call the same command again to carry on" in errors
    (saved,) = checkpoints.glob("step-*")
    assert int(saved.name.removeprefix("step-")) > 0
