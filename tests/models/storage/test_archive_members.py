"""An archive is judged by names and declared sizes before a byte of it is inflated."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from thinned.models.errors import ModelFileError, SettingsError
from thinned.models.storage import archive_members
from thinned.models.storage.keras_archive import read_keras

CONFIG = json.dumps({"class_name": "Sequential", "module": "keras", "config": {"name": "m", "layers": []}})


def archive(path: Path, members: list[tuple[str, bytes | str]], **options: Any) -> Path:
    with zipfile.ZipFile(path / "odd.keras", "w", **options) as made:
        for name, content in members:
            made.writestr(zipfile.ZipInfo(name) if "\\" not in name else raw(name), content)
    return path / "odd.keras"


def raw(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x")
    info.filename = name
    return info


def refused(path: Path) -> str:
    with pytest.raises(ModelFileError) as caught:
        read_keras(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def nothing_is_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: Any, **__: Any) -> Any:
        raise AssertionError("a member was opened")

    monkeypatch.setattr(zipfile.ZipFile, "open", opened)


@pytest.mark.parametrize("name", ["../evil.py", "a/../../evil.py", "/etc/evil", "C:/evil", "a\\evil"])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    text = refused(archive(tmp_path, [("config.json", CONFIG), (name, "x")]))
    assert repr(name) in text
    assert "outside the archive" in text or "backslash" in text


def test_a_link_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("assets/link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "odd.keras", "w") as made:
        made.writestr("config.json", CONFIG)
        made.writestr(link, "/etc/passwd")
    assert "'assets/link' is a link" in refused(tmp_path / "odd.keras")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    assert "'config.json' is there twice" in refused(archive(tmp_path, [("config.json", CONFIG)] * 2))


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_members, "MOST_MEMBERS", 3)
    path = archive(tmp_path, [(f"assets/{i}", "x") for i in range(4)])
    assert "it has 4 members" in refused(path)


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5", "assets/words.txt"])
def test_a_bomb_is_refused_by_what_it_declares(tmp_path: Path, name: str) -> None:
    path = archive(tmp_path, [(name, bytes(20 << 20))], compression=zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(path) as made:
        info = made.getinfo(name)
        if info.compress_type == zipfile.ZIP_STORED:  # writestr keeps what the ZipInfo says
            info.compress_type = zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "w", compression=zipfile.ZIP_DEFLATED) as made:
        made.writestr(name, bytes(20 << 20))
    assert path.stat().st_size < 100_000
    assert f"its member {name!r} declares 21 MB" in refused(path)


@pytest.mark.usefixtures("nothing_is_inflated")
def test_more_than_the_limit_is_refused_unopened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    path = archive(tmp_path, [("config.json", CONFIG), ("model.weights.h5", np.random.default_rng(0).bytes(2 << 20))])
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_, **__: 1 / 0)
    monkeypatch.setenv("THINNED_MAX_MODEL_MIB", "1")
    assert "2.1 MB once it is unpacked, and 1.05 MB are allowed; if that is right, set THINNED_MAX" in refused(path)
    monkeypatch.delenv("THINNED_MAX_MODEL_MIB")
    monkeypatch.setattr(archive_members, "free_bytes", lambda: 1000)
    assert "1 kB of memory are free" in refused(path)


@pytest.mark.parametrize("value", ["", "0", "-1", "many"])
def test_the_limit_is_a_number(files: Path, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("THINNED_MAX_MODEL_MIB", value)
    with pytest.raises(SettingsError, match="THINNED_MAX_MODEL_MIB: expected a whole number of MiB"):
        read_keras(files / "sound.keras")


def test_a_member_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "odd.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("config.json", CONFIG + " " * (2 << 20))
    data = bytearray(path.read_bytes())
    declared = struct.pack("<L", len(CONFIG) + (2 << 20))
    path.write_bytes(bytes(data).replace(declared, struct.pack("<L", len(CONFIG))))
    assert "damaged" in refused(path)


def test_arrays_that_hdf5_has_compressed_away_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_dataset("layers/dense/vars/0", shape=(1 << 28,), dtype="f4", chunks=(1 << 20,), compression="gzip")
    path = archive(tmp_path, [("config.json", CONFIG), ("model.weights.h5", (tmp_path / "w.h5").read_bytes())])
    assert "weights are declared as 1.07 GB" in refused(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [(b"[" * 200 + b"]" * 200, "nested too deeply"), (b"[" + b"[]," * 300 + b"0]", "items, and at most 500")],
)
def test_configurations_are_bounded(monkeypatch: pytest.MonkeyPatch, text: bytes, reason: str) -> None:
    monkeypatch.setattr(archive_members, "MOST_ITEMS", 500)
    with pytest.raises(ModelFileError, match=reason):
        archive_members.parsed_json(text)
