"""A folder of bundles: which names and versions are in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kohonen_tokenizer.service.errors import BundleNotFoundError
from kohonen_tokenizer.service.runtime.model_directory import find_bundle, list_models


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for path in (
        "cifar/1",
        "cifar/2",
        "cifar/10",
        "cifar/03",
        "cifar/draft",
        "faces/7",
        "empty",
        ".hidden/1",
    ):
        (tmp_path / path).mkdir(parents=True)
    return tmp_path


def test_versions_are_whole_numbers_and_the_highest_is_last(directory: Path) -> None:
    assert list_models(directory) == {"cifar": ["1", "2", "10"], "faces": ["7"]}
    assert find_bundle(directory, name="cifar") == ("10", directory / "cifar" / "10")
    assert find_bundle(directory, name="cifar", version="2") == ("2", directory / "cifar" / "2")


def test_a_folder_that_cannot_be_read_is_an_error_of_one_line(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As root, who runs many a test, could read it whatever its mode.
    iterdir = Path.iterdir

    def refuse(path: Path) -> Iterator[Path]:
        if path.name == "faces":
            raise PermissionError(13, "Permission denied", str(path))
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(BundleNotFoundError, match=r"faces cannot be read \(Permission denied\); make it"):
        list_models(directory)
