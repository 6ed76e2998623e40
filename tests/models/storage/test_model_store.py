"""The store holds whole models or none, finds the newest, and notices when a file is not the one that came in."""

from __future__ import annotations

import datetime
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.serving import ROOT
from thinned.models.card import InputSpec, ModelCard, OutputSpec, SplitSpec
from thinned.models.errors import ModelCorruptError, ModelExistsError, ModelFileError, ModelNotFoundError
from thinned.models.storage import model_store
from thinned.models.storage.model_store import StoredModel

Put = Callable[..., StoredModel]


def card(path: Path, name: str = "small", module: Path | None = None) -> ModelCard:
    return ModelCard(
        name=name,
        inputs=(InputSpec(name="x", shape=(4,), dtype="float32"),),
        outputs=(OutputSpec(name="y", shape=(2,), dtype="float32", task="regression"),),
        sites=(),
        split=SplitSpec(prefix_layers=(), suffix_layers=(), frontier=()),
        sha256=model_store.digest(path),
        module_sha256=None if module is None else model_store.digest(module),
        keras_version="3",
        thinned_version="0",
        created=datetime.datetime.now(datetime.UTC),
    )


@pytest.fixture
def put(store: Path, files: Path) -> Put:
    def put(name: str = "small", file: str = "sound.keras", module: Path | None = None) -> StoredModel:
        return model_store.store(files / file, card(files / file, name, module), module=module)

    return put


def test_what_is_stored_is_found_as_it_was(put: Put) -> None:
    stored = put()
    assert model_store.find("small") == stored
    assert model_store.find(stored.tag) == stored
    assert model_store.find("small", stored.version) == stored
    assert model_store.find("small:latest") == stored
    assert model_store.find_all() == [stored]
    assert sorted(path.name for path in stored.path.iterdir()) == [
        "card.json",
        "card.sha256",
        "model.keras",
        "model.yaml",
    ]
    assert model_store.load_keras(stored).count_params() == 58


def test_the_newest_version_is_found(put: Put) -> None:
    first, second = put(), put()
    assert model_store.find("small") == second
    assert model_store.find_all() == [first, second]
    assert model_store.delete(second.tag) == [second.tag]
    assert model_store.find("small") == first
    third = put()
    assert model_store.tags("small") == [first.tag, third.tag]
    assert model_store.delete("small") == [first.tag, third.tag]
    assert model_store.find_all() == []


def test_bentoml_sees_the_same_store(store: Path, put: Put) -> None:
    from bentoml._internal.models.model import ModelStore

    first, second = put(), put()
    put("other")
    theirs = ModelStore(store)
    assert str(theirs.get("small").tag) == second.tag
    assert [str(model.tag) for model in theirs.list("small")] == sorted([first.tag, second.tag])
    assert len(theirs.list()) == 3
    model_store.delete("small")
    assert [model.tag.name for model in theirs.list()] == ["other"]
    assert not (store / "small").exists()


def test_models_that_others_stored_are_left_alone(store: Path, put: Put) -> None:
    import bentoml.models
    from bentoml._internal.models.model import ModelStore

    put()
    for name in ("small", "theirs"):
        with bentoml.models.create(name, _model_store=ModelStore(store)):
            pass
    assert len(model_store.find_all()) == 1
    assert model_store.find("small") == model_store.find_all()[0]
    with pytest.raises(ModelNotFoundError):
        model_store.find("theirs")
    with pytest.raises(ModelNotFoundError):
        model_store.delete("theirs")
    model_store.delete("small")
    assert len(ModelStore(store).list("small")) == 1


@pytest.mark.parametrize("step", ["_fill", "_sync", "write_latest"])
def test_a_crash_on_the_way_leaves_all_or_nothing(store: Path, files: Path, step: str, tmp_path: Path) -> None:
    """The process is gone at once, as after a power cut: nothing can clean up behind it."""
    script = tmp_path / "crash.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import os, pathlib
            from thinned.models.storage import model_store
            from thinned.models.card import ModelCard
            model_store._root = lambda: pathlib.Path({str(store)!r})
            card = ModelCard.model_validate_json({card(files / "sound.keras").model_dump_json()!r})
            real = model_store.{step}
            def crash(*arguments):
                real(*arguments) if {step == "_fill"} else None
                os._exit(9)
            model_store.{step} = crash
            model_store.store(pathlib.Path({str(files / "sound.keras")!r}), card)
            """
        )
    )
    done = subprocess.run([sys.executable, script], check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 9
    if step == "write_latest":
        model_store.load_keras(model_store.find("small"))
    else:
        assert list(store.iterdir()) == []
        assert model_store.find_all() == []
    assert model_store.store(files / "sound.keras", card(files / "sound.keras")) == model_store.find("small")


def test_an_error_on_the_way_leaves_nothing(store: Path, files: Path) -> None:
    wrong = card(files / "sound.keras").model_copy(update={"sha256": "0" * 64})
    with pytest.raises(ModelFileError, match=r"changed while it was imported: expected SHA-256 000000000000…"):
        model_store.store(files / "sound.keras", wrong)
    assert list(store.parent.rglob("*")) == [store]


def test_two_may_store_at_once(put: Put) -> None:
    with ThreadPoolExecutor(4) as pool:
        stored = list(pool.map(lambda _: put(), range(8)))
    assert len({one.version for one in stored}) == 8
    assert len(model_store.find_all()) == 8
    assert model_store.find("small") in stored


@pytest.mark.parametrize("name", ["model.keras", "layers.py"])
def test_a_changed_file_is_noticed_before_it_is_read(put: Put, layers_py: Path, name: str) -> None:
    stored = put("mine", "custom.keras", layers_py)
    model_store.load_keras(stored)
    path = stored.path / name
    path.write_bytes(path.read_bytes() + b"\nraise SystemExit\n")
    with pytest.raises(
        ModelCorruptError, match=rf"{name} of mine:\w+ is not the file that was imported.*import it again"
    ):
        model_store.load_keras(stored)
    path.unlink()
    with pytest.raises(ModelCorruptError, match="cannot be read"):
        model_store.load_keras(stored)


def test_a_card_that_cannot_be_read_hides_no_other_model(put: Put) -> None:
    broken, sound = put("broken"), put("sound")
    (broken.path / "card.json").write_text('{"name": "broken"}')
    assert model_store.find_all() == [sound]
    with pytest.raises(ModelCorruptError, match=rf"the card of {broken.tag} cannot be read.*thinned delete"):
        model_store.find("broken")
    assert model_store.delete("broken") == [broken.tag]


def test_a_changed_card_is_noticed(put: Put) -> None:
    stored = put("mine")
    path = stored.path / "card.json"
    path.write_text(path.read_text().replace('"regression"', '"gaussian"'))
    with pytest.raises(ModelCorruptError, match=rf"the card of {stored.tag} is not the one that was stored.*import it"):
        model_store.find("mine")
    assert model_store.find_all() == []
    (stored.path / "card.sha256").unlink()  # as of a card that was stored before there were digests
    assert model_store.find("mine").card.outputs[0].task == "gaussian"


def test_what_a_crash_left_beside_the_store_is_swept(put: Put, store: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    owners = {
        "thinned-staging-gone": f"{socket.gethostname()} {int(gone.stdout)}",
        "thinned-deleted-gone": f"{socket.gethostname()} {int(gone.stdout)}",
        "thinned-staging-alive": f"{socket.gethostname()} {os.getpid()}",
        "thinned-staging-elsewhere": "another-host 1",
        "thinned-staging-old": None,
        "another": None,
    }
    for name, owner in owners.items():
        (store.parent / name).mkdir()
        if owner:
            (store.parent / name / "owner").write_text(owner)
    for name in ("thinned-staging-old", "another"):
        os.utime(store.parent / name, (0, 0))
    put()
    left = {path.name for path in store.parent.iterdir()}
    assert left == {"models", "another", "thinned-staging-alive", "thinned-staging-elsewhere"}


@pytest.mark.parametrize("name", ["", "Digits", "a b", "-a", "a-", "a/b", "../a", "a:b", "a\n", "ä", "a" * 64])
def test_names_that_bentoml_would_not_take(store: Path, files: Path, name: str) -> None:
    with pytest.raises(ModelExistsError, match="cannot be a model's name: expected 1 to 63 lowercase letters"):
        model_store.store(files / "sound.keras", card(files / "sound.keras", name))
    with pytest.raises(ModelNotFoundError):
        model_store.find(name)
    assert list(store.iterdir()) == []


@pytest.mark.parametrize("name", ["a", "0", "my-model_2.1", "a" * 63])
def test_names_that_it_takes(put: Put, name: str) -> None:
    assert put(name) == model_store.find(name)


def test_what_is_not_there_is_said_with_what_is(put: Put) -> None:
    with pytest.raises(ModelNotFoundError, match="the store is empty: run `thinned train digits`"):
        model_store.find("small")
    stored = put("large")
    with pytest.raises(ModelNotFoundError, match="no model 'small' in the store; it has large"):
        model_store.find("small")
    with pytest.raises(ModelNotFoundError, match=f"no version 'x'.*the store has {stored.version}"):
        model_store.find("large:x")
    with pytest.raises(ModelNotFoundError, match="no model 'large:x'"):
        model_store.delete("large:x")
