"""From settings to models in memory, where a bundle is broken."""

import shutil
from pathlib import Path

import pytest

from kohonen_tokenizer.service.errors import BundleError, BundleNotFoundError
from kohonen_tokenizer.service.http.loading import load_models, load_sound_models
from kohonen_tokenizer.service.http.settings import Settings


@pytest.fixture
def models(tmp_path, tiny_bundle) -> Path:
    """A sound model, `old`, and one whose version 10 is damaged, while 2 and 9 are sound."""
    for path in ("old/1", "new/2", "new/9", "new/10"):
        shutil.copytree(tiny_bundle, tmp_path / path)
    (tmp_path / "new" / "10" / "encoder.onnx").write_bytes(b"damaged")
    return tmp_path


def test_a_broken_newest_version_ends_the_start_and_the_others_are_named(models):
    settings = Settings(models=models)
    with pytest.raises(BundleError) as refused:
        load_models(settings)
    assert "new/10: encoder.onnx" in str(refused.value)
    assert str(refused.value).endswith(
        "remove or rename the folder new/10, and the highest of the other versions of new is served: 2, 9"
    )
    (models / "new" / "10").rename(models / "new" / "10-broken")
    assert {model.name: model.version for model in load_models(settings)} == {"old": "1", "new": "9"}


def test_a_broken_only_version_has_no_others(models):
    for version in ("2", "9"):
        shutil.rmtree(models / "new" / version)
    with pytest.raises(BundleError, match=r"new/10: encoder\.onnx") as refused:
        load_models(Settings(models=models))
    assert "rename" not in str(refused.value)


def test_a_bundle_of_two_levels_is_loaded_as_any_other(two_level_bundle):
    (model,) = load_models(Settings(bundle=two_level_bundle))
    assert list(model.tokenizer.levels) == ["top", "bottom"]


def test_a_process_that_is_started_again_loads_what_is_sound(models, caplog):
    settings = Settings(models=models)
    versions = {"new": "10", "old": "1", "gone": "1"}
    assert [model.name for model in load_sound_models(settings, versions=versions)] == ["old"]
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "model new version 10 is served no longer by this process: " in caplog.text
    assert "holds no model 'gone'" in caplog.text
    with pytest.raises(BundleNotFoundError, match="holds no model 'gone'"):
        load_sound_models(settings, versions={"gone": "1"})
