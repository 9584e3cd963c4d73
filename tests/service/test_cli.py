"""encode, decode, inspect and serve on the tiny bundle, through the command's own entry."""

import hashlib
import io
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from kohonen_tokenizer.service.http.settings import Settings
from kohonen_tokenizer.service.runtime.tokenizer import Tokenizer

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def image_files(tmp_path: Path, random_images: np.ndarray) -> list[Path]:
    """Three PNG files of 8 x 8."""
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    for path, image in zip(paths, random_images, strict=False):
        Image.fromarray(image).save(path)
    return paths


@pytest.fixture
def expected(tiny_model: Any, random_images: np.ndarray) -> np.ndarray:
    """The tokens of `image_files`."""
    tokens: np.ndarray = tiny_model.encode(random_images[:3])
    return tokens


def test_encode_prints_json(
    run: Run, tiny_bundle: Path, image_files: list[Path], expected: np.ndarray
) -> None:
    status, out, err = run("encode", *image_files, "--bundle", tiny_bundle)
    assert (status, err) == (0, "")
    reply = json.loads(out)
    assert reply["tokens"] == expected.tolist()
    assert reply["model"] == "tiny-colors"
    assert (
        reply["codebook_hash"]
        == json.loads((tiny_bundle / "manifest.json").read_bytes())["levels"][0]["codebook_sha256"]
    )


def test_encode_writes_npy_and_decode_reads_it(
    run: Run,
    tmp_path: Path,
    tiny_bundle: Path,
    tiny_model: Any,
    image_files: list[Path],
    expected: np.ndarray,
) -> None:
    tokens = tmp_path / "tokens.npy"
    assert run("encode", *image_files, "--bundle", tiny_bundle, "--output", tokens) == (0, "", "")
    loaded = np.load(tokens)
    assert loaded.dtype == np.int32
    np.testing.assert_array_equal(loaded, expected)

    folder = tmp_path / "new" / "images"
    assert run("decode", tokens, "--bundle", tiny_bundle, "--output", folder) == (0, "", "")
    assert sorted(path.name for path in folder.iterdir()) == ["00000.png", "00001.png", "00002.png"]
    for path, image in zip(sorted(folder.iterdir()), tiny_model.decode(expected), strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), image)


def test_decode_reads_what_encode_prints(
    run: Run,
    tmp_path: Path,
    tiny_bundle: Path,
    tiny_model: Any,
    image_files: list[Path],
    expected: np.ndarray,
) -> None:
    tokens = tmp_path / "tokens.json"
    tokens.write_text(run("encode", image_files[0], "--bundle", tiny_bundle)[1])
    assert run("decode", tokens, "--bundle", tiny_bundle, "--output", tmp_path / "out.png") == (0, "", "")
    image = np.asarray(Image.open(tmp_path / "out.png"))
    np.testing.assert_array_equal(image, tiny_model.decode(expected[:1])[0])


def test_decode_reads_one_grid_alone(
    run: Run, tmp_path: Path, tiny_bundle: Path, tiny_model: Any, expected: np.ndarray
) -> None:
    np.save(tmp_path / "one.npy", expected[0])
    (tmp_path / "one.JSON").write_text(json.dumps({"tokens": expected[0].tolist()}))
    for name in ("one.npy", "one.JSON"):
        args = ["decode", tmp_path / name, "--bundle", tiny_bundle, "--output", tmp_path / f"{name}.png"]
        assert run(*args) == (0, "", "")
        image = np.asarray(Image.open(tmp_path / f"{name}.png"))
        np.testing.assert_array_equal(image, tiny_model.decode(expected[:1])[0])


def test_the_bundle_may_come_from_the_environment(
    run: Run, tiny_bundle: Path, image_files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOHONEN_BUNDLE", str(tiny_bundle))
    assert run("encode", image_files[0])[0] == 0


def test_an_image_may_come_from_stdin(
    run: Run,
    tiny_bundle: Path,
    image_files: list[Path],
    expected: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with image_files[1].open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        out = run("encode", image_files[0], "-", "--bundle", tiny_bundle)[1]
    assert json.loads(out)["tokens"] == expected[:2].tolist()


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_device_backend_and_threads_may_come_from_the_environment(
    run: Run,
    tmp_path: Path,
    tiny_bundle: Path,
    image_files: list[Path],
    expected: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    loaded: list[dict[str, Any]] = []
    load = Tokenizer.load

    def spy(path: Path, **options: Any) -> Tokenizer:
        loaded.append(options)
        return load(path, num_threads=1)

    monkeypatch.setattr(Tokenizer, "load", spy)
    monkeypatch.setenv("KOHONEN_BUNDLE", str(tiny_bundle))
    monkeypatch.setenv("KOHONEN_DEVICE", "cuda")
    monkeypatch.setenv("KOHONEN_BACKEND", "torchscript")
    monkeypatch.setenv("KOHONEN_NUM_THREADS", "3")
    np.save(tmp_path / "tokens.npy", expected)
    args = {"encode": [image_files[0]], "decode": [tmp_path / "tokens.npy", "--output", tmp_path / "out"]}
    assert run(command, *args[command])[0] == 0
    options = ["--device", "cpu", "--num-threads", "2", "--backend", "onnx"]
    assert run(command, *args[command], *options)[0] == 0
    assert loaded == [
        {"device": "cuda", "num_threads": 3, "backend": "torchscript"},
        {"device": "cpu", "num_threads": 2, "backend": "onnx"},
    ]


def test_resize_says_what_happens_to_other_sizes(run: Run, tmp_path: Path, tiny_bundle: Path) -> None:
    # Red, green and blue side by side; the crop keeps the green third, the squash all of them.
    path = tmp_path / "wide.png"
    colors = np.repeat([[[255, 0, 0]] * 32 + [[0, 255, 0]] * 32 + [[0, 0, 255]] * 32], 32, axis=0)
    Image.fromarray(colors.astype(np.uint8)).save(path)

    def tokens(resize: str) -> list[list[list[int]]]:
        loaded: list[list[list[int]]] = json.loads(
            run("encode", path, "--bundle", tiny_bundle, "--resize", resize)[1]
        )["tokens"]
        return loaded

    # Green is code 8 at (0, 2); half red and half green or blue are others.
    assert tokens("crop") == [[[8, 8], [8, 8]]]
    assert tokens("squash") != tokens("crop")
    status, out, err = run("encode", path, "--bundle", tiny_bundle, "--resize", "strict")
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {path}: the image is 96 x 32, and this model takes 8 x 8")


def test_one_bad_image_is_named_and_nothing_is_written(
    run: Run, tmp_path: Path, tiny_bundle: Path, image_files: list[Path]
) -> None:
    image_files[1].write_bytes(image_files[1].read_bytes()[:50])
    output = tmp_path / "tokens.npy"
    status, out, err = run("encode", *image_files, "--bundle", tiny_bundle, "--output", output)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {image_files[1]}: the PNG image does not decode")
    assert err.count("\n") == 1
    assert not output.exists()


def test_an_image_that_is_not_there(run: Run, tmp_path: Path, tiny_bundle: Path) -> None:
    status, _, err = run("encode", tmp_path / "no.png", "--bundle", tiny_bundle)
    assert (status, err) == (2, f"error: {tmp_path / 'no.png'}: No such file or directory\n")


def test_tokens_go_to_files_that_are_known(
    run: Run, tmp_path: Path, tiny_bundle: Path, image_files: list[Path]
) -> None:
    status, _, err = run("encode", image_files[0], "--bundle", tiny_bundle, "--output", tmp_path / "t.csv")
    assert status == 2
    assert "must end in .npy or .safetensors" in err
    assert not (tmp_path / "t.csv").exists()


def test_many_images_do_not_go_to_one_file(
    run: Run, tmp_path: Path, tiny_bundle: Path, expected: np.ndarray
) -> None:
    np.save(tmp_path / "tokens.npy", expected)
    output = tmp_path / "out.png"
    status, _, err = run("decode", tmp_path / "tokens.npy", "--bundle", tiny_bundle, "--output", output)
    assert status == 2
    assert f"the file holds 3 grids, and {output} one image; give a folder" in err
    assert not output.exists()


def test_images_go_to_png_only(run: Run, tmp_path: Path, tiny_bundle: Path, expected: np.ndarray) -> None:
    np.save(tmp_path / "tokens.npy", expected[:1])
    args = ["decode", tmp_path / "tokens.npy", "--bundle", tiny_bundle, "--output"]
    assert run(*args, tmp_path / "OUT.PNG") == (0, "", "")
    assert (tmp_path / "OUT.PNG").is_file()
    status, _, err = run(*args, tmp_path / "out.jpg")
    assert (status, err) == (
        2,
        f"error: --output {tmp_path / 'out.jpg'} ends in .jpg; give a .png file or a folder\n",
    )
    assert not (tmp_path / "out.jpg").exists()
    (tmp_path / "images.v2").mkdir()
    assert run(*args, tmp_path / "images.v2") == (0, "", "")
    assert (tmp_path / "images.v2" / "00000.png").is_file()


def test_no_grids_make_no_folder(run: Run, tmp_path: Path, tiny_bundle: Path, expected: np.ndarray) -> None:
    np.save(tmp_path / "tokens.npy", expected[:0])
    output = tmp_path / "out"
    status, _, err = run("decode", tmp_path / "tokens.npy", "--bundle", tiny_bundle, "--output", output)
    assert status == 2
    assert "no token grids" in err
    assert not output.exists()


def npz_file() -> bytes:
    """Two arrays as numpy.savez writes them."""
    file = io.BytesIO()
    np.savez(file, tokens=np.zeros((1, 2, 2), dtype=np.int32), others=np.zeros(1))
    return file.getvalue()


def npy_header(shape: tuple[int, ...]) -> bytes:
    """A .npy that says it has int64 of `shape`, and ends there."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<i8", "fortran_order": False, "shape": shape})
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("t.json", b'{"tokens": [[[0, 1], [2, 12]]]}', "token 12 at [0, 1, 1] is outside 0 to 11"),
        ("t.json", b'{"tokens": [[[0, 1], [2, 0.5]]]}', "tokens hold a fraction where an integer belongs"),
        ("t.json", b'{"tokens": [[[0, 1], [2, true]]]}', "tokens hold true or false"),
        ("t.json", b'{"tokens": [[[0, 1], [2]]]}', "tokens are ragged"),
        ("t.json", b'{"tokens": [[[0, 1]]]}', "tokens are int64 [1, 1, 2]"),
        ("t.json", b'{"tokens": [[[]]]}', "tokens are int64 [1, 1, 0]"),
        ("t.json", b'{"tokens": []}', "tokens have 1 dimensions"),
        ("t.json", b"[[[0, 1], [2, 3]]]", "the JSON is a list"),
        ("t.json", b"{", "this is no JSON"),
        ("t.json", b"[" * 200_000, "this is no JSON"),
        (
            "t.json",
            b'{"tokens": [[[0, 1], [2, 3]]], "codebook_hash": "ff"}',
            "the tokens are of codebook_hash 'ff'",
        ),
        ("t.json", b'{"tokens": [[[0, 1], [2, 3]]], "model": "other"}', "the tokens are of model 'other'"),
        ("t.npy", b"", "is no .npy"),
        ("t.npy", b"not npy", "is no .npy"),
        ("t.npy", npz_file(), "is no .npy"),
        ("t.npy", npy_header((2**40, 8, 8)), "the .npy says shape [1099511627776, 8, 8]"),
        ("t.csv", b"0,1", "ends in '.csv'; give a .npy or .safetensors or .json file"),
    ],
)
def test_tokens_that_do_not_decode(
    run: Run, tmp_path: Path, tiny_bundle: Path, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)
    status, out, err = run("decode", tmp_path / name, "--bundle", tiny_bundle, "--output", tmp_path / "o.png")
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {tmp_path / name}: ")
    assert reason in err
    assert err.count("\n") == 1


def test_a_pickle_is_not_opened(run: Run, tmp_path: Path, tiny_bundle: Path) -> None:
    np.save(tmp_path / "t.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    status, _, err = run(
        "decode", tmp_path / "t.npy", "--bundle", tiny_bundle, "--output", tmp_path / "o.png"
    )
    assert status == 2
    assert "the .npy holds elements of type object" in err


def test_inspect_says_what_is_in_a_bundle(run: Run, tiny_bundle: Path) -> None:
    status, out, err = run("inspect", tiny_bundle)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert "name           tiny-colors" in lines
    assert "image          8 x 8 x 3 (height x width x channels)" in lines
    assert "level          tokens: 2 x 2 tokens an image" in lines
    assert "codebook       12 codes of 3 numbers on a 3 x 4 rectangular map" in lines
    assert "metric         psnr 20.5" in lines
    verified = [line for line in lines if line.startswith("file ") and line.endswith(", verified")]
    assert len(verified) == 3


def test_inspect_shows_nested_metrics_by_dotted_name(
    run: Run, make_bundle: Callable[..., Path], tiny_files: dict[str, bytes]
) -> None:
    metrics = {"test": {"psnr": 24.5, "by_offset": [1, 2]}, "images": 10}
    lines = run("inspect", make_bundle(tiny_files, metrics=metrics))[1].splitlines()
    assert [line for line in lines if line.startswith("metric")] == [
        "metric         test.psnr 24.5",
        "metric         images 10",
    ]


def test_inspect_as_json_is_the_manifest(run: Run, tiny_bundle: Path) -> None:
    status, out, _ = run("inspect", tiny_bundle, "--json")
    assert status == 0
    assert out.encode() == (tiny_bundle / "manifest.json").read_bytes()


@pytest.mark.parametrize("command", ["inspect", "encode"])
def test_a_damaged_bundle_is_named_with_what_is_wrong_in_it(
    run: Run, make_bundle: Callable[..., Path], tiny_files: dict[str, bytes], command: str
) -> None:
    folder = make_bundle(tiny_files)
    (folder / "decoder.onnx").write_bytes(b"damaged")
    args = [folder] if command == "inspect" else ["x.png", "--bundle", folder]
    status, out, err = run(command, *args)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {folder}: decoder.onnx has 7 bytes, and the manifest says ")


def test_serve_takes_options_before_the_environment(
    run: Run, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[tuple[Any, Any]] = []
    monkeypatch.setattr(
        "kohonen_tokenizer.service.http.server.run",
        lambda settings, *, models: served.append((settings, models)),
    )
    # It would last, with this test's stderr, through all tests that follow.
    monkeypatch.setattr("kohonen_tokenizer.service.http.logs.configure_logging", lambda level, **_: None)
    monkeypatch.setenv("KOHONEN_PORT", "9000")
    monkeypatch.setenv("KOHONEN_HOST", "::1")
    origins = ("--cors-origins", "http://a", "--cors-origins", "http://b")
    assert run("serve", "--bundle", tiny_bundle, "--port", "9001", *origins) == (0, "", "")
    ((settings, (model,)),) = served
    assert model.name == "tiny-colors"
    assert (settings.host, settings.port, settings.log_level) == ("::1", 9001, "info")
    assert settings.cors_origins == ("http://a", "http://b")


def test_the_help_of_serve_lists_every_setting(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    status, out, _ = run("serve", "--help")
    assert status == 0
    lines = [" ".join(line.strip("│ ").split()) for line in out.splitlines()]
    for name, field in Settings.model_fields.items():
        (line,) = [line for line in lines if line.startswith(f"--{name.replace('_', '-')} ")]
        assert f" {field.description} (KOHONEN_{name.upper()}; " in line
    (port,) = [line for line in lines if line.startswith("--port ")]
    assert port == "--port 1 to 65535 TCP port to listen on. (KOHONEN_PORT; default 8000)"


def test_serve_refuses_a_value_outside_its_limits(run: Run, tiny_bundle: Path) -> None:
    status, _, err = run("serve", "--bundle", tiny_bundle, "--port", "70000")
    assert status == 2
    assert err.startswith("error: setting port (--port) is '70000': ")


def test_serve_prints_its_settings_and_does_not_start(run: Run, tmp_path: Path) -> None:
    status, out, err = run("serve", "--bundle", "nowhere", "--print-config")
    assert (status, err) == (0, "")
    settings = tomllib.loads(out)
    assert (settings["bundle"], settings["port"]) == ("nowhere", 8000)
    (tmp_path / "serve.toml").write_text(out)
    again = run("serve", "--config", tmp_path / "serve.toml", "--port", "9000", "--print-config")[1]
    assert tomllib.loads(again) == settings | {"port": 9000}


def test_settings_are_printed_before_there_is_a_bundle(run: Run, tmp_path: Path) -> None:
    status, out, err = run("serve", "--print-config")
    assert (status, err) == (0, "")
    (tmp_path / "serve.toml").write_text(out)
    assert run("serve", "--config", tmp_path / "serve.toml", "--print-config")[0] == 0
    status, out, err = run("serve", "--config", tmp_path / "serve.toml")
    assert (status, out) == (2, "")
    assert err.startswith("error: there is nothing to serve; give --bundle ")


def test_a_setting_that_is_appended_after_a_key_is_told_its_place(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "serve.toml"
    config.write_text('bundle = "b"\n' + run("new-key", "one")[1] + 'log_format = "json"\n')
    assert run("serve", "--config", config) == (
        2,
        "",
        f"error: setting log_format (in {config}) stands below [[api_keys]] and so belongs to that; "
        "put settings above the first [[api_keys]]\n",
    )


@pytest.mark.parametrize(("options", "scopes"), [((), ["use"]), (("--admin",), ["use", "admin"])])
def test_a_new_key_is_shown_once_and_its_entry_can_be_appended(
    run: Run, tmp_path: Path, options: tuple[str, ...], scopes: list[str]
) -> None:
    config = tmp_path / "serve.toml"
    config.write_text('bundle = "b"')
    secrets = []
    for name in ("one", "two"):
        status, out, err = run("new-key", name, *options)
        assert status == 0
        config.write_text(config.read_text() + out)
        secrets.append(err.split()[-1])
    keys = tomllib.loads(run("serve", "--config", config, "--print-config")[1])["api_keys"]
    assert [key["name"] for key in keys] == ["one", "two"]
    assert all(key["scopes"] == scopes for key in keys)
    assert [key["sha256"] for key in keys] == [hashlib.sha256(key.encode()).hexdigest() for key in secrets]


def test_a_key_needs_a_plain_name(run: Run) -> None:
    status, out, err = run("new-key", "a b")
    assert (status, out) == (2, "")
    assert err.startswith("error: the name 'a b' of a key is not ")


def test_two_levels_go_to_json_and_back(
    run: Run, tmp_path: Path, two_level_bundle: Path, image_files: list[Path], expected: np.ndarray
) -> None:
    status, out, _ = run("encode", *image_files, "--bundle", two_level_bundle)
    assert status == 0
    reply = json.loads(out)
    assert reply["tokens_bottom"] == expected.tolist()
    assert np.shape(reply["tokens_top"]) == (3, 1, 1)
    (tmp_path / "tokens.json").write_text(out)
    output = tmp_path / "out"
    assert run("decode", tmp_path / "tokens.json", "--bundle", two_level_bundle, "--output", output)[0] == 0
    tokenizer = Tokenizer.load(two_level_bundle)
    tokens = {level: np.array(reply[f"tokens_{level}"]) for level in ("top", "bottom")}
    for path, image in zip(sorted(output.iterdir()), tokenizer.decode(tokens), strict=True):
        assert np.array_equal(np.asarray(Image.open(path)), image)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"tokens": [[[0]]]}', "the JSON object has the keys 'tokens'; give {\"tokens_top\": [B][h][w], "),
        ('{"tokens_top": [[[0]]], "tokens_bottom": [[[0, 0], [0, 99]]]}', "token 99 at [0, 1, 1] is outside"),
        ('{"tokens_top": [[[0]], [[0]]], "tokens_bottom": [[[0, 0], [0, 0]]]}', "(top 2, bottom 1)"),
    ],
)
def test_other_tokens_than_those_of_two_levels_are_refused(
    run: Run, tmp_path: Path, two_level_bundle: Path, content: str, message: str
) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(content)
    status, _, err = run("decode", path, "--bundle", two_level_bundle, "--output", tmp_path / "out")
    assert (status, err.count("\n")) == (2, 1)
    assert message in err


def test_two_levels_fit_into_safetensors(
    run: Run, tmp_path: Path, two_level_bundle: Path, image_files: list[Path]
) -> None:
    tokens, printed = tmp_path / "tokens.safetensors", tmp_path / "tokens.json"
    status, out, _ = run("encode", *image_files, "--bundle", two_level_bundle)
    printed.write_text(out)
    assert status == 0
    assert run("encode", *image_files, "--bundle", two_level_bundle, "--output", tokens)[0] == 0
    arrays = load_file(tokens)
    assert {name: array.tolist() for name, array in arrays.items()}.items() <= json.loads(out).items()
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.int32)}
    for path in (tokens, printed):
        assert run("decode", path, "--bundle", two_level_bundle, "--output", tmp_path / path.suffix)[0] == 0
    images = [sorted((tmp_path / suffix).iterdir()) for suffix in (".safetensors", ".json")]
    assert len(images[0]) == len(image_files)
    assert [path.read_bytes() for path in images[0]] == [path.read_bytes() for path in images[1]]


def test_a_npy_of_two_levels_is_refused(
    run: Run, tmp_path: Path, two_level_bundle: Path, image_files: list[Path]
) -> None:
    npy = tmp_path / "tokens.npy"
    status, _, err = run("encode", *image_files, "--bundle", two_level_bundle, "--output", npy)
    assert (status, npy.exists()) == (2, False)
    assert "holds one array, and this model has top, bottom" in err
    np.save(npy, np.zeros((1, 2, 2), dtype=np.int32))
    status, _, err = run("decode", npy, "--bundle", two_level_bundle, "--output", tmp_path / "out")
    assert status == 2
    assert "a .npy holds one array, and this model has top, bottom; give a .safetensors or .json file" in err
