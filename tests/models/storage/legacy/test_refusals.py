"""What cannot be read safely, or cannot be translated, is refused in one line that names the version and the layer."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.models.storage.legacy.old_files import (
    functional,
    layer,
    load,
    numbers,
    sequential,
    write_archive,
    write_h5,
)
from thinned.models.errors import ModelFileError
from thinned.models.storage.legacy import isolation
from thinned.models.storage.legacy.conversion import current_archive

DENSE = layer("Dense", "dense", units=2, use_bias=True, activation="linear", batch_input_shape=[None, 4])
WEIGHTS = {"dense": {"dense/kernel:0": numbers(4, 2), "dense/bias:0": numbers(2)}}
REBUILD = "build the model again in Keras 3"
INPUT = layer("InputLayer", "i", batch_input_shape=[None, 4], dtype="float32")


def refused(path: Path, module: Path | None = None) -> str:
    with pytest.raises(ModelFileError) as caught:
        load(path, module)
    text = str(caught.value)
    assert "\n" not in text
    assert "'Functional'" not in text
    return text


def sound(path: Path) -> Path:
    return write_h5(path, sequential(DENSE), WEIGHTS)


# Code


def test_no_lambda_is_read(tmp_path: Path) -> None:
    code = ["4wEAAAAAAAAA", None, None]
    plus = layer("Lambda", "plus", function=code, function_type="lambda", arguments={})
    inner = {"class_name": "TimeDistributed", "config": {"name": "t", "layer": plus}}
    dense = layer("Dense", "d", units=1, activation={"class_name": "__lambda__", "config": {"value": code}})
    for number, one in enumerate((plus, inner)):
        text = refused(write_h5(tmp_path / f"{number}.h5", sequential(INPUT, one), {"d": {}}))
        assert "the Lambda layer 'plus', that is, Python code" in text
        assert "--module" in text
    assert "a Python lambda" in refused(write_h5(tmp_path / "d.h5", sequential(INPUT, dense), {"d": {}}))
    assert "the Lambda layer 'plus'" in refused(write_archive(tmp_path / "d.keras", sequential(INPUT, plus), {}))


@pytest.mark.parametrize(
    "class_name", ["system", "TFSMLayer", "Layer", "JaxLayer", "deserialize", "TorchModuleWrapper"]
)
def test_only_layers_are_made(tmp_path: Path, class_name: str) -> None:
    one = layer(class_name, "odd", command="true", filepath="/", module="os")
    text = refused(write_h5(tmp_path / "m.h5", sequential(INPUT, one), {"odd": {}}, version="2.4.0"))
    assert "HDF5 saved by Keras 2.4.0" in text
    assert f"its layer 'odd' is a {class_name}" in text
    assert REBUILD in text


@pytest.mark.parametrize("name", ["os.system", "deserialize", "get", "eval"])
def test_only_activations_are_called(tmp_path: Path, name: str) -> None:
    dense = layer("Dense", "d", units=1, activation=name, batch_input_shape=[None, 4])
    assert f"the function {name!r}, which is not part of Keras" in refused(
        write_h5(tmp_path / "m.h5", sequential(dense), {"d": {}})
    )


# What Keras 3 has no counterpart for


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (layer("TFOpLambda", "tf.math.add", [["i", 0, 0, {}]], function="math.add"), "an operation of TensorFlow"),
        (layer("LocallyConnected1D", "l", [["i", 0, 0, {}]], filters=2), "Keras 3 has no such layer"),
        (layer("LSTM", "l", [["i", 0, 0, {}]], units=2, time_major=True), "time_major=True"),
        (layer("Merge", "l", [["i", 0, 0, {}]], mode="cos"), "Keras 3 has no such layer"),
        (layer("DepthwiseConv2D", "l", [["i", 0, 0, {}]], kernel_size=[1, 1], groups=2), "groups=2"),
        (layer("BatchNormalization", "l", [["i", 0, 0, {}]], axis=[1, 2]), "over the axes [1, 2]"),
        (layer("BatchNormalization", "l", [["i", 0, 0, {}]], axis=1, renorm=True), "renorm"),
        (layer("Attention", "l", [["i", 0, 0, {}]], causal=True), "causal=True"),
        (layer("WeightNorm", "l", [["i", 0, 0, {}]]), "'WeightNorm' is not part of Keras; if it is your own"),
        (layer("Dense", "l", [["i", 0, 0, {}]], units=-3), "its layer 'l' (Dense) could not be made"),
        (layer("Conv2D", "l", [["i", 0, 0, {}]], filters=1, kernel_size=[2, 2]), "could not be called"),
        (layer("Dense", "l", [["nobody", 0, 0, {}]], units=1), "not written as Keras writes one"),
        (layer("Dense", "l", [["i", 0, 5, {}]], units=1), "an output of 'i' that there is not"),
        (layer("Dense", "l", [["l", 0, 0, {}]], units=1), "takes what no layer gives"),
    ],
)
@pytest.mark.parametrize("kind", ["h5", "keras"])
def test_what_has_no_counterpart_is_named(tmp_path: Path, one: dict[str, Any], reason: str, kind: str) -> None:
    config = functional([["i", 0, 0]], [[one["name"], 0, 0]], INPUT, one)
    if kind == "h5":
        text = refused(write_h5(tmp_path / "m.h5", config, {"i": {}}, version="2.9.0"))
        assert "is HDF5 saved by Keras 2.9.0, and " in text
    else:
        config["class_name"] = "Functional"
        config |= {"module": "keras.src.engine.functional", "registered_name": "Functional"}
        text = refused(write_archive(tmp_path / "m.keras", config, {"layers/l/vars/0": numbers(1)}, version="2.13.1"))
        assert "is an archive saved by Keras 2.13.1, and " in text
    assert reason in text
    assert REBUILD in text


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("{", "its configuration is not JSON"),
        ("[" * 50_000, "nested too deeply"),
        ('{"a":' * 200 + "1" + "}" * 200, "nested too deeply"),
        ("[]", "describes no model"),
        ("{}", "describes no model"),
        ({"class_name": "Sequential", "config": []}, "has no layers"),
        ({"class_name": "Sequential", "config": {"layers": [3]}}, "has no layers"),
        ({"class_name": "Model", "config": {"name": "m"}}, "a model with a call of its own"),
        ({"class_name": "Dense", "config": {"name": "d", "units": 1}}, "a Dense, which is no Sequential"),
        (sequential(layer("Dense", "dense", units=2)), "does not say the shape of its inputs"),
        (functional([["i", 0, 0]], [], INPUT), "no inputs or no outputs"),
    ],
)
def test_configurations_that_are_none(tmp_path: Path, config: Any, reason: str) -> None:
    assert reason in refused(write_h5(tmp_path / "m.h5", config, WEIGHTS))


ODD = (None, -1, 0, 1.5, "x", [], {}, [None], ["i", 0, 0], True, {"class_name": "Dense"}, [[[["i", 0, 0, 3]]]])


@pytest.mark.parametrize("seed", range(30))
def test_a_configuration_changed_anywhere_is_one_line_or_a_model(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values are replaced at random. What was read apart is handed on here, without a process for each."""
    rng = np.random.default_rng(seed)
    lstm = layer("LSTM", "l", [["i", 0, 0, {}]], units=2, activation="tanh", time_major=False, dtype="float32")
    within = layer("InputLayer", "x", batch_input_shape=[None, 2], dtype="float32")
    inner = functional([["x", 0, 0]], [["d", 0, 0]], within, layer("Dense", "d", [["x", 0, 0]], units=2))
    nested = {**inner, "name": "part", "inbound_nodes": [[["l", 0, 0, {}]]]}
    start = layer("InputLayer", "i", batch_input_shape=[None, 3, 4], dtype="float32")
    norm = layer("BatchNormalization", "b", [["part", 1, 0, {"training": False}]], axis=[1])
    text = json.dumps(functional([["i", 0, 0]], [["b", 0, 0]], start, lstm, nested, norm))
    for _ in range(20):
        config = json.loads(text)
        for _ in range(int(rng.integers(1, 4))):
            places = [(parent, key) for parent in containers(config) for key in keys(parent)]
            parent, key = places[int(rng.integers(len(places)))]
            parent[key] = json.loads(json.dumps(ODD[int(rng.integers(len(ODD)))]))
        old = isolation.OldModel("2.4.0", None, config, [], None)
        monkeypatch.setattr("thinned.models.storage.legacy.conversion.read_apart", lambda *_, old=old: old)
        path = tmp_path / "m.h5"
        path.write_bytes(b"\x89HDF\r\n\x1a\n")
        with pytest.raises(ModelFileError) as caught:
            current_archive(path)
        assert "\n" not in str(caught.value)


def containers(node: Any) -> list[Any]:
    inner = node.values() if isinstance(node, dict) else node
    return [node, *(one for item in inner if isinstance(item, dict | list) for one in containers(item))]


def keys(node: Any) -> list[Any]:
    return list(node) if isinstance(node, dict) else list(range(len(node)))


# Weights


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ({}, "no weights for its layer 'dense', which takes 2"),
        ({"dense": {"dense/kernel:0": numbers(4, 2)}}, "takes 2 weights, and the file has 1"),
        (
            {"dense": {"dense/kernel:0": numbers(5, 2), "dense/bias:0": numbers(2)}},
            "'dense': expected kernel of shape 4×2, the file has dense/kernel:0 of shape 5×2",
        ),
        (WEIGHTS | {"more": {"more/kernel:0": numbers(1)}}, "weights of a layer 'more'"),
    ],
)
def test_weights_that_do_not_fit(tmp_path: Path, weights: Any, reason: str) -> None:
    assert reason in refused(write_h5(tmp_path / "m.h5", sequential(DENSE), weights))


def test_weights_of_one_shape_in_another_order(tmp_path: Path) -> None:
    norm = layer("BatchNormalization", "bn", batch_input_shape=[None, 4], axis=[1])
    names = ("moving_mean", "moving_variance", "gamma", "beta")
    weights = {"bn": {f"bn/{name}:0": numbers(4) for name in names}}
    text = refused(write_h5(tmp_path / "m.h5", sequential(norm), weights))
    assert "'bn': expected the weight gamma, the file has bn/moving_mean:0" in text


# Malice and damage


def test_links_out_of_the_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["kernel"] = numbers(4, 2)
    for number, link in enumerate((h5py.ExternalLink(str(secret), "/kernel"), h5py.SoftLink("/elsewhere"))):
        path = sound(tmp_path / f"{number}.h5")
        with h5py.File(path, "a") as file:
            del file["model_weights/dense/dense/kernel:0"]
            file["model_weights/dense/dense/kernel:0"] = link
        assert "is a link to another" in refused(path)


def test_data_kept_in_other_files(tmp_path: Path) -> None:
    raw = tmp_path / "passwords"
    raw.write_bytes(bytes(32))
    path = sound(tmp_path / "external.h5")
    with h5py.File(path, "a") as file:
        group = file["model_weights/dense/dense"]
        del group["kernel:0"]
        group.create_dataset("kernel:0", (4, 2), "float32", external=[(str(raw), 0, 32)])
    assert "lie in another file" in refused(path)
    path = sound(tmp_path / "virtual.h5")
    with h5py.File(path, "a") as file:
        layout = h5py.VirtualLayout((4, 2), "float32")
        layout[:] = h5py.VirtualSource(str(raw), "kernel", (4, 2))
        del file["model_weights/dense/dense/kernel:0"]
        file["model_weights/dense/dense"].create_virtual_dataset("kernel:0", layout)
    assert "lie in another file" in refused(path)


def test_more_than_the_file_could_hold(tmp_path: Path) -> None:
    path = sound(tmp_path / "bomb.h5")
    with h5py.File(path, "a") as file:
        group = file["model_weights/dense/dense"]
        del group["kernel:0"]
        group.create_dataset("kernel:0", (110_000, 110_000), "float32", chunks=(1000, 1000), compression="gzip")
    assert path.stat().st_size < 100_000
    assert "declared as 110000×110000, which is more than the file could hold" in refused(path)


def test_objects_instead_of_numbers(tmp_path: Path) -> None:
    path = sound(tmp_path / "objects.h5")
    with h5py.File(path, "a") as file:
        group = file["model_weights/dense/dense"]
        del group["kernel:0"]
        group.create_dataset("kernel:0", data=["cos\nsystem"], dtype=h5py.string_dtype())
    assert "are not numbers" in refused(path)


def test_a_group_inside_itself(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "loop.keras", sequential(DENSE), {"layers/dense/vars/0": numbers(4, 2)})
    weights = path.with_suffix(".parts.h5")
    with h5py.File(weights, "a") as file:
        file["layers/again"] = file["layers"]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.13.1"}))
        archive.writestr("config.json", json.dumps(sequential(DENSE)))
        archive.write(weights, "model.weights.h5")
    assert "groups inside themselves" in refused(path)


def test_files_cut_short_or_flipped(tmp_path: Path) -> None:
    whole = sound(tmp_path / "m.h5").read_bytes()
    cut = tmp_path / "cut.h5"
    for length in (8, 100, len(whole) // 2, len(whole) - 10):
        cut.write_bytes(whole[:length])
        assert "copy it again" in refused(cut)
    rng = np.random.default_rng(0)
    for _ in range(6):
        bytes_ = bytearray(whole)
        for place in rng.integers(8, len(whole), size=40):
            bytes_[place] ^= int(rng.integers(1, 256))
        cut.write_bytes(bytes_)
        try:
            load(cut)
        except ModelFileError as error:
            assert "\n" not in str(error)


def test_hdf5_that_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "data.h5"
    with h5py.File(path, "w") as file:
        file["x"] = numbers(3)
    assert "holds no Keras model" in refused(path)
    with h5py.File(path, "a") as file:
        file.attrs["layer_names"] = [b"dense"]
    assert "holds weights without the model" in refused(path)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits of a process are those of POSIX")
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("import numpy; numpy.ones(5 << 30)", "took more memory than a file of its size needs"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashed (signal 11)"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGXCPU)", "took more time"),
        ("import time; time.sleep(60)", "took longer than 3 s"),
        ("import sys; sys.exit('odd')", "failed (odd)"),
    ],
)
def test_a_reader_that_dies_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, reason: str
) -> None:
    """The process is a real one; what HDF5 could do to it is done by `sitecustomize`, when the file is opened."""
    (tmp_path / "hooked").mkdir()
    (tmp_path / "hooked" / "sitecustomize.py").write_text(
        f"import sys\ndef hook(event, arguments):\n    if event == 'open' and str(arguments[0]).endswith('m.h5'):\n"
        f"        {body}\nsys.addaudithook(hook)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hooked"))
    path = sound(tmp_path / "m.h5")
    folder = tmp_path / "plain"
    folder.mkdir()
    with pytest.raises(ModelFileError) as caught:
        isolation.read_apart(path, folder, timeout=3)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    refused(write_h5(tmp_path / "m.h5", "{", WEIGHTS))
    archive = current_archive(sound(tmp_path / "s.h5"))
    assert [path.name for path in archive.path.parent.iterdir()] == ["model.keras"]
    del archive
    assert list((tmp_path / "temporary").iterdir()) == []
