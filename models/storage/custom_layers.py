"""A user's module of custom layers: found when a model is imported, kept beside it, run before it is loaded."""

from __future__ import annotations

import hashlib
import importlib.machinery
import importlib.util
import inspect
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

from thinned.models.errors import ModelFileError

__all__ = ["custom_objects", "find_module", "run_module"]

_running = threading.RLock()


def find_module(module: str, *, folder: Path | None = None) -> Path:
    """Find the source of a module.

    Args:
        module: A path that ends in `.py`, or the dotted name of a module.
        folder: Where a dotted name is looked up first, before `sys.path`; the working directory by default.

    Returns:
        The path of the `.py` file.

    Raises:
        ModelFileError: There is no such file, or it is not one file of Python source.
    """
    if module.endswith(".py") or "/" in module:
        path = Path(module)
        if not path.is_file() or path.suffix != ".py":
            raise ModelFileError(f"--module expects a .py file or a module name; {module!r} is no such file")
        return path
    places = [str(folder or Path.cwd()), *sys.path]
    origin: str | None = None
    for part in module.split("."):
        spec = importlib.machinery.PathFinder.find_spec(part, places)
        if spec is None:
            raise ModelFileError(
                f"--module {module}: no module of that name in the working directory or among the installed packages; "
                "pass the path of the .py file"
            )
        origin = spec.origin
        places = list(spec.submodule_search_locations or [])
    if origin is None or not origin.endswith(".py") or Path(origin).name == "__init__.py":
        raise ModelFileError(
            f"--module {module} is a package or not Python source; the custom layers must be in one .py file, "
            "which is kept beside the model"
        )
    return Path(origin)


def run_module(path: Path) -> ModuleType:
    """Run a module of custom layers, once a process for each content.

    This runs the user's own code with all the rights of the process.

    Args:
        path: The `.py` file.

    Returns:
        The module; its Keras registration decorators have taken effect.

    Raises:
        ModelFileError: The code raised; the text says what.
    """
    source = path.read_bytes()
    # Named by content, so that two models may each bring a `my_layers` of their own.
    name = f"thinned_layers_{hashlib.sha256(source).hexdigest()[:16]}"
    with _running:
        if name in sys.modules:
            return sys.modules[name]
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ModelFileError(f"{path.name}: expected a file of Python source; pass a .py file to --module")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
        except BaseException as error:
            del sys.modules[name]
            if isinstance(error, KeyboardInterrupt):
                raise
            raise ModelFileError(
                f"{path.name}: running the module failed with {type(error).__name__}: {error}; it is run alone, "
                "so that everything it imports must be installed"
            ) from error
        return module


def custom_objects(module: ModuleType) -> dict[str, Any]:
    """Classes and functions that the module itself defines, under their plain and their registered Keras names.

    A model finds its own classes this way even if another model has registered others under the same name.
    """
    import keras

    own = {
        name: value
        for name, value in vars(module).items()
        if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module.__name__
    }
    return own | {keras.saving.get_registered_name(value): value for value in own.values()}
