"""TensorFlow starts without a word, and an import that fails is not hidden."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import thinned

ROOT = Path(thinned.__file__).resolve().parent.parent
LEFT_OUT = ("KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL", "TF_FORCE_GPU_ALLOW_GROWTH", "TF_CUDNN_DETERMINISTIC")


def run(code: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=env | {"KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_tensorflow_starts_without_a_word_and_is_the_backend() -> None:
    done = run(
        "from thinned.models.compat.tensorflow import import_tensorflow\nimport_tensorflow()\n"
        "import os, keras\nprint(keras.backend.backend())\nos.write(2, b'after')"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "tensorflow\n", "after")


def test_what_was_said_before_a_failure_is_shown() -> None:
    done = run(
        "import os, sys\nfrom thinned.models.compat.tensorflow import import_tensorflow\n"
        "class Broken:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'keras':\n"
        "            os.write(2, b'library is missing')\n"
        "            raise ImportError('no keras')\n"
        "sys.meta_path.insert(0, Broken())\nimport_tensorflow()"
    )
    assert done.returncode == 1
    assert "library is missing" in done.stderr
    assert "ImportError: no keras" in done.stderr


THEIRS = "import os\nos.environ['KERAS_BACKEND'] = 'tensorflow'\nimport tensorflow\n"
STATE = (
    "from thinned.models.compat.tensorflow import import_tensorflow\nimport_tensorflow()\n"
    "import os, tensorflow as tf\nprint(tf.config.experimental.tensor_float_32_execution_enabled())\n"
    "print(os.environ.get('TF_FORCE_GPU_ALLOW_GROWTH'), os.environ.get('TF_CUDNN_DETERMINISTIC'))"
)


@pytest.mark.parametrize(("before", "expected"), [("", ["False", "true", "1"]), (THEIRS, ["True", "None", "None"])])
def test_a_gpu_is_shared_repeats_and_computes_in_float32_unless_tensorflow_was_there(
    before: str, expected: list[str]
) -> None:
    assert run(before + STATE).stdout.split() == expected


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project.get("version", thinned.__version__) == thinned.__version__


def test_calls_of_concrete_functions_still_take_the_short_way() -> None:
    """When this fails, TensorFlow has renamed what `call_concrete` uses; it then takes the public, slower call."""
    import tensorflow as tf

    from thinned.models.compat.tensorflow import call_concrete, floating_point_operations

    weight = tf.Variable(3.0)
    concrete = tf.function(lambda x, y: [x * weight, x + y]).get_concrete_function(
        *[tf.TensorSpec([None], tf.float32)] * 2
    )
    assert callable(concrete._inference_function.call_preflattened)
    found = call_concrete(concrete, [np.ones(2, "float32"), tf.ones(2)])
    assert [tensor.numpy().tolist() for tensor in found] == [[3.0, 3.0], [2.0, 2.0]]
    fixed = tf.function(lambda x: tf.matmul(x, x)).get_concrete_function(tf.TensorSpec([4, 4], tf.float32))
    assert floating_point_operations(fixed.graph) == 2 * 4**3


def test_the_profiler_still_has_no_name_but_a_deprecated_one() -> None:
    """When this fails, count operations by the public name."""
    import tensorflow as tf

    assert not hasattr(tf.profiler, "profile")
    assert not hasattr(tf.profiler.experimental, "float_operation")


def test_an_operation_is_replaced_in_any_graph_and_only_inside() -> None:
    import tensorflow as tf

    from thinned.models.compat.tensorflow import replaced_operations

    def body() -> Any:
        return tf.while_loop(lambda i, s: i < 3, lambda i, s: (i + 1, s + tf.random.uniform([])), (0, 0.0))[1]

    with replaced_operations(lambda kind, inputs, attributes: tf.constant(2.0) if kind == "RandomUniform" else None):
        replaced = tf.function(body, autograph=False).get_concrete_function()
    assert replaced() == 6.0
    assert 0.0 < tf.function(body, autograph=False)() < 3.0


def test_a_convolution_of_too_short_an_input_still_answers() -> None:
    """Once this fails, `layer_patching._long_enough` is no longer needed for convolutions."""
    import tensorflow as tf
    from tensorflow.python.util._pywrap_util_port import IsMklEnabled

    if not IsMklEnabled():
        pytest.skip("TensorFlow uses no oneDNN on this processor, whose convolutions these are")
    # A kernel of 3 on 2 positions: what comes out was written by nobody.
    assert tf.nn.conv1d(tf.ones([1, 2, 2]), tf.ones([3, 2, 2]), 1, "VALID").shape == (1, 2, 2)


def test_an_array_becomes_a_tensor_where_it_lies_and_by_tf_constant_not_yet() -> None:
    """Fails when TensorFlow no longer copies by an operation of its own, or the class that does not is gone."""
    import tensorflow as tf

    from thinned.models.compat.tensorflow import as_tensor

    held = np.zeros(4096 + 16, np.float32)
    array = held[(-held.ctypes.data % 64) // 4 :][:4096]  # TensorFlow shares what is aligned.
    shared, copied = as_tensor(array), tf.constant(array)
    array[0] = 7
    assert (float(shared[0]), float(copied[0])) == (7.0, 0.0)
    for other in (np.array(["a", "ü"], object), np.zeros((0, 3)), np.ones((4, 4), np.uint8)[:, ::2]):
        np.testing.assert_array_equal(as_tensor(other).numpy(), tf.constant(other).numpy())
