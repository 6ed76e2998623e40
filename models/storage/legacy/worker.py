"""The process that reads an untrusted file: `python -m thinned.models.storage.legacy.worker FILE FOLDER`.

It writes plain data into the folder: `model.json`, and an array in each `NUMBER.npy`; or a reason into `refusal.txt`.
It limits its own memory, time and output before it opens the file.
"""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from thinned.models.errors import ModelFileError
from thinned.models.storage.archive_members import CONFIG, METADATA, WEIGHTS, check_members, parsed_json, read_text
from thinned.models.storage.legacy.hdf5_reader import Array, HDF5Model, open_hdf5
from thinned.models.storage.limits import allowed_bytes

__all__ = ["REFUSED", "cpu_seconds", "main"]

REFUSED = 3
"""Exit status when the reason stands in `refusal.txt`."""


def main(file: Path, folder: Path) -> int:
    """Read the file into the folder; the exit status."""
    try:
        size = file.stat().st_size
        _limit(size)
        found = _archive(file, folder, size) if zipfile.is_zipfile(file) else _hdf5(file, folder, size)
        (folder / "model.json").write_text(json.dumps(found), encoding="utf-8")
    except ModelFileError as error:
        reason = str(error)
    except MemoryError:
        reason = "reading it took more memory than a file of its size needs"
    except RecursionError:
        reason = "its configuration is nested too deeply"
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
        reason = f"it is damaged: {' '.join(str(error).split())[:200]}"
    else:
        return 0
    (folder / "refusal.txt").write_text(reason, encoding="utf-8")
    return REFUSED


def cpu_seconds(size: int) -> int:
    """The processor time that reading a file of this size may take."""
    return 60 + size // (5 << 20)


def _limit(size: int) -> None:
    try:
        import resource
    except ImportError:  # not a POSIX system
        return
    limits = {
        resource.RLIMIT_AS: (2 << 30) + 4 * size,
        resource.RLIMIT_CPU: cpu_seconds(size),
        resource.RLIMIT_FSIZE: 2 * allowed_bytes(size),
        resource.RLIMIT_CORE: 0,
    }
    for kind, most in limits.items():
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


class _Arrays:
    """Arrays put into files of the folder, numbered as they come."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def put(self, array: Array) -> int:
        number, self._count = self._count, self._count + 1
        np.save(self._folder / f"{number}.npy", array, allow_pickle=False)
        return number


def _hdf5(file: Path, folder: Path, size: int) -> dict[str, Any]:
    """The parts of a file that `model.save("model.h5")` wrote."""
    arrays = _Arrays(folder)
    with open_hdf5(file) as opened:
        model = HDF5Model(opened, size)
        config = model.attribute("model_config")
        if config is None:
            what = "weights without the model" if "layer_names" in opened.attrs else "no Keras model"
            raise ModelFileError(f"it is HDF5 and holds {what}: it has no attribute model_config")
        layers = [
            {"layer": layer, "names": names, "arrays": [arrays.put(array) for array in found]}
            for layer, names, found in model.layers()
        ]
        return {
            "format": "HDF5",
            "version": model.attribute("keras_version") or "1",
            "backend": model.backend(),
            "config": _parsed(config.encode()),
            "layers": layers,
        }


def _archive(file: Path, folder: Path, size: int) -> dict[str, Any]:
    """The parts of a `.keras` archive of Keras 2."""
    arrays = _Arrays(folder)
    weights = folder / "copied.weights.h5"
    with zipfile.ZipFile(file) as archive:
        check_members(archive)
        config, metadata = (_parsed(read_text(archive, name)) for name in (CONFIG, METADATA))
        if archive.getinfo(WEIGHTS).file_size > allowed_bytes(size):
            raise ModelFileError("its weights are larger than the file could hold")
        with archive.open(WEIGHTS) as source, weights.open("wb") as copy:
            shutil.copyfileobj(source, copy)
    with open_hdf5(weights) as opened:
        tree = [{"path": path, "array": arrays.put(array)} for path, array in HDF5Model(opened, size).tree()]
    weights.unlink()
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    return {"format": "archive", "version": str(version), "backend": None, "config": config, "tree": tree}


def _parsed(text: bytes) -> Any:
    try:
        return parsed_json(text)
    except ValueError as error:
        raise ModelFileError(f"its configuration is not JSON ({error})") from error


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
