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

__all__ = ["custom_objects", "find_module", "import_package", "objects_of", "run_module"]

_running = threading.RLock()


def find_module(module: str, *, folder: Path | None = None) -> Path | str:
    """Find the source of a module.

    Args:
        module: A path that ends in `.py`, or the dotted name of a module or package.
        folder: Where a dotted name is looked up first, before `sys.path`; the working directory by default.

    Returns:
        The path of the `.py` file; or the name of an installed package, which must be installed wherever the model is
        loaded.

    Raises:
        ModelFileError: There is no such file or package, or it is not Python source.
    """
    if module.endswith(".py") or "/" in module:
        path = Path(module)
        if not path.is_file() or path.suffix != ".py":
            raise ModelFileError(f"--module expects a .py file or a module name; {module!r} is no such file")
        return path
    own = str(folder or Path.cwd())
    places = [own, *sys.path]
    origin: str | None = None
    for part in module.split("."):
        spec = importlib.machinery.PathFinder.find_spec(part, places)
        if spec is None:
            raise ModelFileError(_not_installed(module, "in the working directory or among the installed packages"))
        origin = spec.origin
        places = list(spec.submodule_search_locations or [])
    if origin is None or not origin.endswith(".py"):
        raise ModelFileError(
            f"--module {module} is not Python source; the custom layers must be in one .py file, which is kept beside "
            "the model, or in an installed package"
        )
    if Path(origin).name != "__init__.py":
        return Path(origin)
    if Path(origin).is_relative_to(own) and not Path(origin).is_relative_to(sys.prefix):
        raise ModelFileError(
            f"--module {module} is a package in the working directory, which would not be there when the model is "
            "loaded elsewhere; install it (pip install), or pass the one .py file with the custom layers"
        )
    return module


def import_package(name: str) -> ModuleType:
    """Import an installed package of custom layers; its Keras registration decorators take effect.

    Raises:
        ModelFileError: It is not installed, or raised; the text says what to do.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        raise ModelFileError(_not_installed(missing, "among the installed packages")) from error
    except Exception as error:
        raise ModelFileError(f"importing {name} failed with {type(error).__name__}: {error}") from error


def _not_installed(name: str, where: str) -> str:
    package = name.partition(".")[0].replace("_", "-")
    return (
        f"--module {name}: no module of that name {where}; install it with: pip install {package}; or pass the path of "
        "the .py file that defines the layers"
    )


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


def objects_of(source: Path | str) -> dict[str, Any]:
    """The custom objects of a `.py` file, which is run, or of an installed package, which is imported.

    Raises:
        ModelFileError: It cannot be.
    """
    return custom_objects(run_module(source) if isinstance(source, Path) else import_package(source))


def custom_objects(module: ModuleType) -> dict[str, Any]:
    """Classes and functions that the module itself defines, under their plain and their registered Keras names.

    A model finds its own classes this way even if another model has registered others under the same name.
    """
    import keras

    own = {
        name: value
        for name, value in vars(module).items()
        if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__.startswith(module.__name__)
    }
    return own | {keras.saving.get_registered_name(value): value for value in own.values()}
