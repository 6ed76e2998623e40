"""`thinned serve`: what is said before the service starts, and the start itself."""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys
from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any, NoReturn

from thinned import HOME
from thinned.models.card import InputSpec, ModelCard
from thinned.models.errors import UsageError

if TYPE_CHECKING:
    from thinned.models.storage.model_store import StoredModel
    from thinned.service.settings import Settings

__all__ = ["check_port", "curl", "print_settings", "serve_models"]

TARGET = "thinned.service.app:UncertaintyService"

_CURL = "curl -s -H 'content-type: application/json'"

# A longer body does not belong on a command line.
MOST_NUMBERS_IN_CURL = 400


def check_port(host: str, port: int) -> None:
    """Find out whether the service could listen, before minutes of start-up are spent on it.

    Raises:
        UsageError: It could not.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(found[0], found[1]) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(found[4])
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host}:{port} ({error.strerror or error}); pass another with --port or --host"
        ) from error


def curl(card: ModelCard, url: str) -> str:
    """Commands that ask the running service for an answer, without and with its uncertainty where there is any."""
    if sum(prod(card.recipe(spec).shape) for spec in card.inputs) <= MOST_NUMBERS_IN_CURL:
        rows = {spec.name: [_row(card, spec)] for spec in card.inputs}
        inputs: Any = rows if len(rows) > 1 else next(iter(rows.values()))
        body = json.dumps({"inputs": inputs}, separators=(",", ":"))
        plain = f"{_CURL} {url}/predict -d {shlex.quote(body)}"
        mc = json.dumps({"inputs": inputs, "n_samples": 50, "seed": 7}, separators=(",", ":"))
        return f"{plain}\n\n{_CURL} {url}/predict_mc -d {shlex.quote(mc)}" if card.has_passes else plain
    shapes = ", ".join(f"{spec.name!r}: {_filled(card, spec)}" for spec in card.inputs)
    path, more = ("predict_mc", ", 'n_samples': 50") if card.has_passes else ("predict", "")
    dump = f"print(json.dumps({{'inputs': {{k: v.tolist() for k, v in rows.items()}}{more}}}))"
    return (
        f'python -c "import json, numpy as np; rows = {{{shapes}}}; {dump}" \\\n'
        f"  | {_CURL} {url}/{path} --data-binary @-"
    )


def print_settings(names: Sequence[str] | None = None) -> None:
    """Print the settings in force, after checking them.

    Raises:
        SettingsError: The environment holds one that cannot be used.
    """
    from thinned.service.cli.output import table

    rows = _settings(names).table()
    table("variable", "value", "meaning", rows=rows, right=("value",))


def serve_models(names: Sequence[str] | None, *, host: str, port: int, workers: int | None = None) -> NoReturn:
    """Print the address and a command to try, and become `bentoml serve`. Does not return.

    Args:
        names: The models; none for those of the settings. The example digits is trained if it is not there.
        host: Address to listen on.
        port: Port to listen on.
        workers: Processes; None for the number of the settings.

    Raises:
        UsageError: The address is taken.
        SettingsError: The environment holds a setting that cannot be used.
        ModelNotFoundError: There is no such model.
    """
    from thinned.service.inference.catalogue import check_models

    if workers is not None:
        os.environ["THINNED_WORKERS"] = str(workers)
    settings = _settings(names)
    check_port(host, port)
    found = [_find_or_train(reference.text) for reference in settings.references]
    check_models(settings, found)
    stored = found[0]
    url = f"http://{'127.0.0.1' if host in ('0.0.0.0', '') else host}:{port}"
    print(f"Serving {stored.tag} on {url} (its page: {url}/ui, its API: {url}/). Stop with Ctrl-C.")
    for reference, other in list(zip(settings.references, found, strict=True))[1:]:
        if reference.shadow_of is None:
            print(f"Serving {other.tag} at {url}/models/{other.card.name}/predict (API: .../docs.json)")
        else:
            place = f"{url}/models/{reference.shadow_of}/comparison"
            print(f"{other.tag} answers what {reference.shadow_of} is asked, unseen: {place}")
    print(f"Once it is ready, in a few seconds, try it from another terminal:\n\n{curl(stored.card, url)}\n")
    _become_bentoml(host=host, port=port)


def _settings(names: Sequence[str] | None) -> Settings:
    from thinned.service.settings import Settings

    if names:
        os.environ["THINNED_MODEL"] = " ".join(names)
    return Settings.read()


def _find_or_train(name: str) -> StoredModel:
    from thinned.models.errors import ModelNotFoundError
    from thinned.models.storage.model_store import find

    try:
        return find(name)
    except ModelNotFoundError:
        if name != "digits":
            raise
    from thinned.service.cli.train import train_example

    print("The store has no model `digits` yet; training it, which takes seconds.")
    return train_example(name)


def _become_bentoml(*, host: str, port: int) -> NoReturn:
    arguments = ["-m", "bentoml", "serve", TARGET, "--host", host, "--port", str(port)]
    sys.stdout.flush()
    sys.stderr.flush()
    # Seen from its own folder, so that a folder named `service` where the person stands does not come first.
    os.execve(
        sys.executable,
        [sys.executable, *arguments, "--working-dir", str(HOME)],
        {**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def _row(card: ModelCard, spec: InputSpec) -> Any:
    """A row to ask with: a held-out one of an example's data; else one of values that the model answers."""
    rows = _example_rows(card.name)
    if rows is not None and rows.shape[1:] == spec.shape:
        return _short(rows[0].tolist())
    return card.recipe(spec).typical_row


def _filled(card: ModelCard, spec: InputSpec) -> str:
    """The same as Python code, for rows too large to be read."""
    recipe = card.recipe(spec)
    return f"np.full({(1, *recipe.shape)}, {recipe.typical!r})"


def _short(value: Any) -> Any:
    """Numbers as a person would write them."""
    if isinstance(value, list):
        return [_short(item) for item in value]
    return int(value) if float(value).is_integer() else round(value, 4)


def _example_rows(name: str) -> Any:
    from thinned.models.examples import diabetes, digits

    examples = {digits.NAME: digits.data, diabetes.NAME: diabetes.data}
    try:
        return examples[name]().x_test if name in examples else None
    except ModuleNotFoundError:  # scikit-learn, which brings the data, is an extra.
        return None
