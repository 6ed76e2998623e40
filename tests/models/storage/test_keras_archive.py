"""A `.keras` file loads as it was saved; everything else is refused with its reason and what to do."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from thinned.models.errors import ModelFileError
from thinned.models.storage.keras_archive import read_keras


def refused(path: Path, module: Path | None = None) -> str:
    with pytest.raises(ModelFileError) as caught:
        read_keras(path, module)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_sound_file_answers_as_keras_would(files: Path) -> None:
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    expected = keras.models.load_model(files / "sound.keras", compile=False)(x, training=False)
    model = read_keras(files / "sound.keras")
    assert_array_equal(model(x, training=False), expected)
    assert not model.compiled


@pytest.mark.parametrize(
    ("name", "reason", "remedy"),
    [
        ("missing.keras", "no such file", "expected a .keras file"),
        ("cut.keras", "not a .keras archive", "save the model again"),
        ("flipped.keras", "model.weights.h5 is damaged", "copy the file again"),
        ("sound.zip", "does not end in .keras", "rename it"),
        ("lambda_layer.keras", "the Lambda layer 'plus'", "--module"),
        ("lambda_activation.keras", "a Python lambda", "--module"),
        (".", "is a folder", "expected one .keras file"),
    ],
)
def test_what_is_not_one_is_refused(files: Path, name: str, reason: str, remedy: str) -> None:
    text = refused(files / name)
    assert reason in text
    assert remedy in text


@pytest.mark.parametrize("name", ["old.h5", "old.hdf5", "renamed.keras"])
def test_hdf5_is_known_by_its_content(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    text = refused(tmp_path / name)
    assert "HDF5" in text
    assert "`thinned import` converts it" in text


def test_weights_alone_are_no_model(tmp_path: Path) -> None:
    (tmp_path / "my.weights.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    assert "load_weights" in refused(tmp_path / "my.weights.h5")


def test_a_saved_model_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").touch()
    text = refused(tmp_path)
    assert "SavedModel" in text
    assert f'if Keras wrote it, run tf.keras.models.load_model("{tmp_path.name}").save("model.h5")' in text
    (tmp_path / "keras_metadata.pb").touch()
    assert f'With the TensorFlow that wrote it run tf.keras.models.load_model("{tmp_path.name}")' in refused(tmp_path)


def test_an_archive_of_keras_2_is_converted_first(files: Path, tmp_path: Path) -> None:
    """Keras 3 would load some of them, and read another meaning into their layers."""
    path = tmp_path / "second.keras"
    with zipfile.ZipFile(files / "sound.keras") as new, zipfile.ZipFile(path, "w") as old:
        for name in new.namelist():
            old.writestr(name, new.read(name) if name != "metadata.json" else '{"keras_version": "2.13.1"}')
    assert "was saved by Keras 2.13.1" in refused(path)


@pytest.mark.parametrize("name", ["Functional", "Sequential"])
def test_no_module_is_asked_for_what_is_of_keras(files: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / "odd.keras"
    config = {"class_name": name, "module": "keras.src.engine.functional", "config": {}, "registered_name": name}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
    assert "--module" not in refused(path)


@pytest.mark.parametrize(
    ("member", "content", "reason"),
    [
        ("other.txt", "x", "without a config.json"),
        ("config.json", "{", "damaged"),
        ("config.json", "[" * 100_000, "nested too deeply"),
        ("config.json", "[]", "does not describe a Keras model"),
        ("config.json", '{"class_name": "Model"}', "Keras could not load it"),
        (
            "config.json",
            json.dumps({"class_name": "Dense", "module": "keras.layers", "config": {"units": 1}}),
            "Expected a",
        ),
    ],
)
def test_zip_files_of_another_kind(tmp_path: Path, member: str, content: str, reason: str) -> None:
    path = tmp_path / "odd.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
    assert reason in refused(path)


def test_a_config_cannot_name_code_to_import(tmp_path: Path) -> None:
    path = tmp_path / "evil.keras"
    config = {"module": "os", "class_name": "system", "config": {"command": "true"}, "registered_name": None}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
    assert "'system', which is not part of Keras" in refused(path)


def test_custom_layers_need_their_module(files: Path, layers_py: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # In a fresh process nothing is registered yet.
    monkeypatch.setattr("keras.src.saving.object_registration.GLOBAL_CUSTOM_OBJECTS", {})
    text = refused(files / "custom.keras")
    assert "'Twice', which is not part of Keras" in text
    assert "--module" in text
    for _ in range(2):
        assert read_keras(files / "custom.keras", layers_py).layers[1].__class__.__name__ == "Twice"
