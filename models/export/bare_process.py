"""Run exported files in a process that imports their runtime and NumPy alone: `python -I THIS_FILE FOLDER`.

The runtime is TensorFlow for a SavedModel, ONNX Runtime for ONNX.

FOLDER holds `request.json`, a list of calls, and `inputs.npz`; what they gave is written to `answers.npz`. What the
process has imported is told by `modules.json`, and by `errors.json` which calls were refused, by place in the list.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

__all__ = ["answer", "load"]

Run = Callable[[dict[str, Any]], dict[str, Any]]


def answer(folder: Path) -> None:
    """Make the calls of a folder.

    Each call has `exported` (the folder of a model), `signature`, `inputs` (by name in the signature the name of an
    array) and `numbers` (`n_samples` and `seed`, or neither). Answers are named "CALL:OUTPUT".
    """
    calls = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    loaded: dict[tuple[str, str], Run] = {}
    found: dict[str, Any] = {}
    errors: dict[int, str] = {}
    with np.load(folder / "inputs.npz", allow_pickle=False) as arrays:
        for place, call in enumerate(calls):
            try:
                key = call["exported"], call["signature"]
                if key not in loaded:
                    loaded[key] = load(Path(key[0]), key[1])
                given = {name: _text_as(object, arrays[array]) for name, array in call["inputs"].items()}
                answers = loaded[key](given | call["numbers"])
                found |= {f"{place}:{name}": _text_as(str, value) for name, value in answers.items()}
            except Exception as error:  # whatever it is: whoever asked tells of it
                errors[place] = f"{type(error).__name__}: {error}"
    np.savez(folder / "answers.npz", **found)
    (folder / "errors.json").write_text(json.dumps(errors), encoding="utf-8")
    (folder / "modules.json").write_text(json.dumps(sorted(sys.modules)), encoding="utf-8")


_SAVED: dict[Path, Any] = {}


def load(folder: Path, signature: str) -> Run:
    """What runs a signature: a function of arrays, and of numbers, by name."""
    if not (folder / "saved_model.pb").exists():
        return _load_onnx(folder / f"{signature}.onnx")
    import tensorflow as tf

    if folder not in _SAVED:
        _SAVED[folder] = tf.saved_model.load(str(folder))
    function = _SAVED[folder].signatures[signature]
    _, wanted = function.structured_input_signature

    def run(given: dict[str, Any]) -> dict[str, Any]:
        tensors = {name: tf.constant(value, wanted[name].dtype) for name, value in given.items()}
        return {name: tensor.numpy() for name, tensor in function(**tensors).items()}

    return run


def _load_onnx(path: Path) -> Run:
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    numbers = {"tensor(int32)": np.int32, "tensor(int64)": np.int64}
    types = {one.name: numbers.get(one.type) for one in session.get_inputs()}
    outputs = [one.name for one in session.get_outputs()]

    def run(given: dict[str, Any]) -> dict[str, Any]:
        arrays = {
            name: np.array(value, types[name]) if isinstance(value, int) else value for name, value in given.items()
        }
        return dict(zip(outputs, session.run(outputs, arrays), strict=True))

    return run


def _text_as(kind: type, value: Any) -> Any:
    """Text as Python strings, which runtimes take, or as text that files hold; other arrays as they are."""
    array = np.asarray(value)
    if array.dtype.kind not in "OUS":
        return array
    plain = [x.decode("utf-8") if isinstance(x, bytes) else x for x in array.ravel().tolist()]
    return np.array(plain, kind).reshape(array.shape)


if __name__ == "__main__":
    answer(Path(sys.argv[1]))
