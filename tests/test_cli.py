"""The command as a whole: it lists without loading, loads what is called, reports user errors in a line."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import kohonen_tokenizer
from kohonen_tokenizer.cli import main
from kohonen_tokenizer.install_command import install_command

COMMANDS = [
    *("serve", "encode", "decode", "verify", "tokens", "inspect", "doctor", "new-key"),
    *("train", "evaluate", "export"),
]


def status_of(*args: str) -> int:
    with pytest.raises(SystemExit) as caught:
        main(args)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def assert_user_error(status: int, captured: pytest.CaptureFixture[str], message: str) -> None:
    out, err = captured.readouterr()
    assert status == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err


@pytest.mark.parametrize("args", [["--help"], []])
def test_help_lists_every_command(capsys: pytest.CaptureFixture[str], args: list[str]) -> None:
    assert status_of(*args) == 0
    out = capsys.readouterr().out
    for command in COMMANDS:
        assert f" {command} " in out


def test_help_loads_no_part() -> None:
    code = (
        "import sys\n"
        "from kohonen_tokenizer.cli import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'torch', 'onnxruntime', 'fastapi', 'numpy', 'onnx', 'PIL', 'pyarrow', 'fsspec'}\n"
        "parts = {f'kohonen_tokenizer.{part}.cli' for part in ('service', 'batch', 'training', 'export')}\n"
        "print('loaded:', (heavy | parts) & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("loaded: set()\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_with_an_example(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert status_of(command, "--help") == 0
    assert f"Example: kohonen-tokenizer {command} " in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of("--version") == 0
    assert capsys.readouterr().out == f"{kohonen_tokenizer.__version__}\n"


def test_it_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "kohonen_tokenizer", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{kohonen_tokenizer.__version__}\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["encod"], "No such command 'encod'"),
        (["inspect"], "Missing argument"),
        (["inspect", "x", "--loud"], "No such option: --loud"),
        (["encode", "x.png", "--bundle", "y", "--resize", "stretch"], "'--resize'"),
        (["inspect", "nowhere"], "nowhere: nothing is there"),
        (["train", "no-such-recipe", "--data", "x", "--out", "y"], "recipe 'no-such-recipe'"),
        (["export", "no-such-run", "bundle"], "no-such-run"),
    ],
)
def test_user_errors_end_in_one_line(
    capsys: pytest.CaptureFixture[str], args: list[str], message: str
) -> None:
    assert_user_error(status_of(*args), capsys, message)


def test_a_file_that_is_not_there_is_a_user_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    replace_command(monkeypatch, FileNotFoundError(2, "No such file or directory", "cat.jpg"))
    assert_user_error(status_of("inspect", "x"), capsys, "error: cat.jpg: No such file or directory\n")


@pytest.mark.parametrize(
    ("args", "extra"),
    [
        (["train", "cifar10-ksom", "--data", "x", "--out", "y"], "training"),
        (["evaluate", "run", "--data", "x"], "training"),
        (["export", "run", "bundle"], "export"),
    ],
)
def test_without_torch_a_command_has_its_help_and_names_its_extra(args: list[str], extra: str) -> None:
    def run(*args: str) -> subprocess.CompletedProcess[str]:
        code = (
            "import sys\n"
            "sys.modules['torch'] = None\n"
            "from kohonen_tokenizer.cli import main\n"
            "main(sys.argv[1:])\n"
        )
        return subprocess.run(
            [sys.executable, "-c", code, *args], capture_output=True, text=True, check=False
        )

    command = args[0]
    help_ = run(command, "--help")
    assert (help_.returncode, help_.stderr) == (0, "")
    assert f"Example: kohonen-tokenizer {command} " in help_.stdout
    called = run(*args)
    assert (called.returncode, called.stdout, called.stderr) == (
        2,
        "",
        f"error: {command} needs torch, which is not installed; run: {install_command(extra)}\n",
    )


def test_without_pyarrow_a_dataset_names_its_extra_and_images_need_none() -> None:
    def run(*args: str) -> subprocess.CompletedProcess[str]:
        code = (
            "import sys\n"
            "for name in ('pyarrow', 'fsspec', 'tqdm'):\n    sys.modules[name] = None\n"
            "from kohonen_tokenizer.cli import main\n"
            "main(sys.argv[1:])\n"
        )
        command = [sys.executable, "-c", code, "encode", *args, "--bundle", "bundles/cifar10-ksom-512"]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1]
        )

    done = run("docs", "nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: encode needs ")
    assert done.stderr.endswith(f", which is not installed; run: {install_command('batch')}\n")
    done = run("docs/example.jpg")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith('{"tokens": [[[')


@pytest.mark.parametrize(
    "bug",
    [
        ModuleNotFoundError("No module", name="kohonen_tokenizer.training.nowhere"),
        ValueError("operands could not be broadcast together"),
        RuntimeError("a bug"),
    ],
)
def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, bug: Exception) -> None:
    replace_command(monkeypatch, bug)
    with pytest.raises(type(bug), match=str(bug)):
        main(["inspect", "x"])


def replace_command(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let `inspect` raise `error`."""
    service_cli = importlib.import_module("kohonen_tokenizer.service.cli")

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(service_cli.Tokenizer, "load", fail)
