"""Aliases and `latest`: set, moved, followed, and in the way of a version that would be deleted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.models.storage.test_model_store import card
from thinned.models.errors import AliasError, ModelCorruptError, ModelNotFoundError
from thinned.models.storage import model_store
from thinned.models.storage.model_store import StoredModel, find
from thinned.models.storage.pointers import remove, rollback, set_alias
from thinned.models.storage.survey import survey
from thinned.models.storage.versions import aliases

Put = Callable[[], StoredModel]


@pytest.fixture
def put(store: Path, files: Path) -> Put:
    return lambda: model_store.store(files / "sound.keras", card(files / "sound.keras"))


def test_an_alias_is_followed_each_time_it_is_asked_for(put: Put, store: Path) -> None:
    first, second = put(), put()
    assert set_alias(first.tag, "live") == (first, None)
    assert find("small@live") == first
    assert find("small") == second
    assert set_alias("small", "live") == (second, first.version)
    assert find("small@live") == second
    assert model_store.tags("small@live") == [second.tag]
    assert set_alias("small@live", "older") == (second, None)
    assert aliases(store / "small") == {"live": second.version, "older": second.version}
    assert find("small@latest") == second
    assert remove("small", "older") == second.version
    with pytest.raises(ModelNotFoundError, match=r"no alias 'older' of the model 'small'; it has live; make it with"):
        find("small@older")


@pytest.mark.parametrize("alias", ["latest", "", "Live", "a b", "../x", "a/b", "ä", "a" * 64, "x@y", "x:y", "-"])
def test_what_cannot_be_an_alias(put: Put, store: Path, alias: str) -> None:
    before = put()
    with pytest.raises(AliasError, match="cannot be an alias"):
        set_alias("small", alias)
    assert [path.name for path in (store / "small").iterdir() if path.is_file()] == ["latest"]
    assert find("small") == before


@pytest.mark.parametrize("name", ["small@", "@live", "small@a@b", "small:x@live", "small@live:x", "Small@live"])
def test_what_is_no_name_with_an_alias(put: Put, name: str) -> None:
    put()
    with pytest.raises(ModelNotFoundError):
        find(name)


def test_a_version_stays_while_an_alias_points_to_it(put: Put, store: Path) -> None:
    first, second = put(), put()
    set_alias(first.tag, "live")
    for name in (first.tag, "small@live"):
        with pytest.raises(AliasError, match=rf"{first.tag} is small@live.*thinned alias small live --remove"):
            model_store.delete(name)
    assert model_store.delete(second.tag) == [second.tag]
    assert find("small") == first
    assert model_store.delete("small") == [first.tag]
    assert not (store / "small").exists()


def test_an_alias_of_what_is_gone_says_so(put: Put, store: Path) -> None:
    stored = put()
    (store / "small" / "live.alias").write_text("gone")
    with pytest.raises(ModelNotFoundError, match=r"small@live points to the version 'gone', which is not in the store"):
        find("small@live")
    for text in ("", "../../x", "a b", "\0"):
        (store / "small" / "live.alias").write_text(text)
        with pytest.raises(ModelNotFoundError, match="no alias 'live'"):
            find("small@live")
    (store / "small" / "live.alias").write_bytes(b"\xff")
    assert aliases(store / "small") == {}
    assert find("small") == stored


def test_latest_goes_back_one_version_at_a_time(put: Put) -> None:
    first, second, third = put(), put(), put()
    assert rollback("small") == (second, third.version)
    assert find("small") == second
    assert model_store.tags("small") == [first.tag, second.tag, third.tag]
    assert rollback("small") == (first, second.version)
    with pytest.raises(AliasError, match=rf"{first.tag} is the first version of small: there is none before it"):
        rollback("small")
    assert find("small") == first
    fourth = put()
    assert find("small") == fourth


def test_what_cannot_be_rolled_back(put: Put) -> None:
    first, second = put(), put()
    for name in (first.tag, "small@live", "a b"):
        with pytest.raises(AliasError, match="expects just that"):
            rollback(name)
    with pytest.raises(ModelNotFoundError, match="no model 'other'"):
        rollback("other")
    (first.path / "model.keras").write_bytes(b"broken")
    with pytest.raises(ModelCorruptError, match=r"model.keras of small:\w+ is not the file"):
        rollback("small")
    with pytest.raises(ModelCorruptError):
        set_alias(first.tag, "live")
    assert find("small") == second


def test_deleting_another_version_leaves_latest_where_it_was_put(put: Put) -> None:
    first, second, third = put(), put(), put()
    rollback("small")
    model_store.delete(first.tag)
    assert find("small") == second
    fourth = put()
    rollback("small")
    assert find("small") == third
    model_store.delete(third.tag)
    assert find("small") == second
    assert model_store.tags("small") == [second.tag, fourth.tag]


def test_bentoml_reads_the_same_latest_beside_aliases(put: Put, store: Path) -> None:
    from bentoml._internal.models.model import ModelStore

    first, _ = put(), put()
    set_alias("small", "live")
    rollback("small")
    theirs = ModelStore(store)
    assert str(theirs.get("small:latest").tag) == first.tag
    assert len(theirs.list()) == 2


def test_the_survey_lists_damaged_versions_with_what_is_wrong(put: Put) -> None:
    unreadable, changed, sound = put(), put(), put()
    gone = put()
    (unreadable.path / "card.json").write_text("{}")
    (changed.path / "model.keras").write_bytes(b"broken")
    (gone.path / "card.json").unlink()
    found = {entry.version: entry for entry in survey()}
    assert len(found) == 4
    assert found[sound.version].damage is None
    assert found[unreadable.version].stored is None
    assert "wrong fields" in str(found[unreadable.version].damage)
    assert "is not the file that was imported" in str(found[changed.version].damage)
    assert "cannot be read" in str(found[gone.version].damage)
    assert [entry.version for entry in found.values() if entry.latest] == [gone.version]
