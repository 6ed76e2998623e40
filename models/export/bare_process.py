"""Run signatures of a SavedModel in a process that imports TensorFlow and NumPy alone: `python -I THIS_FILE FOLDER`.

FOLDER holds `request.json`, a list of calls, and `inputs.npz`; what they gave is written to `answers.npz`. What the
process has imported is told by `modules.json`, and by `errors.json` which calls were refused, by place in the list.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

__all__ = ["answer"]


def answer(folder: Path) -> None:
    """Make the calls of a folder.

    Each call has `saved_model` (a path), `signature`, `inputs` (by name in the signature the name of an array) and
    `numbers` (`n_samples` and `seed`, or neither). Answers are named "CALL:OUTPUT".
    """
    calls = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    loaded: dict[str, Any] = {}
    found: dict[str, Any] = {}
    errors: dict[int, str] = {}
    with np.load(folder / "inputs.npz", allow_pickle=False) as arrays:
        for place, call in enumerate(calls):
            try:
                path = call["saved_model"]
                if path not in loaded:
                    loaded[path] = tf.saved_model.load(path)
                function = loaded[path].signatures[call["signature"]]
                _, wanted = function.structured_input_signature
                given = {key: arrays[name] for key, name in call["inputs"].items()} | call["numbers"]
                tensors = {key: tf.constant(_plain(value), wanted[key].dtype) for key, value in given.items()}
                found |= {f"{place}:{name}": _plain(tensor.numpy()) for name, tensor in function(**tensors).items()}
            except Exception as error:  # whatever it is: whoever asked tells of it
                errors[place] = f"{type(error).__name__}: {error}"
    np.savez(folder / "answers.npz", **found)
    (folder / "errors.json").write_text(json.dumps(errors), encoding="utf-8")
    (folder / "modules.json").write_text(json.dumps(sorted(sys.modules)), encoding="utf-8")


def _plain(value: Any) -> Any:
    """Text as arrays of text, which files of arrays can hold."""
    array = np.asarray(value)
    if array.dtype.kind == "O":
        return np.array([x.decode("utf-8") if isinstance(x, bytes) else x for x in array.ravel()]).reshape(array.shape)
    return array.astype(object) if array.dtype.kind in "US" else array


if __name__ == "__main__":
    answer(Path(sys.argv[1]))
