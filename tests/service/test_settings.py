from __future__ import annotations

import pytest

from thinned.service.settings import Settings, SettingsError, variable


def test_every_setting_has_a_default_a_variable_and_a_meaning(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Settings.read().table()
    assert [name for name, _, _ in table] == [variable(field) for field in Settings.model_fields]
    assert all(value and meaning.endswith(".") for _, value, meaning in table)
    monkeypatch.setenv("THINNED_MAX_ROWS", "7")
    assert ("THINNED_MAX_ROWS", "7") in [row[:2] for row in Settings.read().table()]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("THINNED_MAX_ROWS", "0", "THINNED_MAX_ROWS: input should be greater than or equal to 1, received '0'"),
        ("THINNED_MAX_ROWS", "many", "THINNED_MAX_ROWS: input should be a valid integer"),
        ("THINNED_MAX_SAMPLES", "1", "THINNED_MAX_SAMPLES"),
        ("THINNED_MODEL", "", "THINNED_MODEL"),
        ("THINNED_MAX_ROW", "3", "THINNED_MAX_ROW is no setting; did you mean THINNED_MAX_ROWS?"),
        ("THINNED_DEFAULT_SAMPLES", "2000", "lower the first or raise the second"),
    ],
)
def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        Settings.read()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THINNED_MAX_ROWS", "-1")
    monkeypatch.setenv("THINNED_MAX_WAITING", "-1")
    with pytest.raises(SettingsError, match=r"THINNED_MAX_ROWS.*THINNED_MAX_WAITING"):
        Settings.read()


@pytest.mark.parametrize("limit", ["THINNED_MAX_SAMPLES", "THINNED_MAX_ROW_PASSES"])
def test_a_lower_limit_lowers_the_default_with_it(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setenv(limit, "10")
    assert Settings.read().default_samples == 10


@pytest.mark.parametrize("service", ["THINNED", "THINNED_MINE_PREDICTOR"])
def test_what_kubernetes_sets_for_a_service_is_told_apart(monkeypatch: pytest.MonkeyPatch, service: str) -> None:
    ends = ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_80_TCP", "PORT_80_TCP_ADDR")
    for end in ends:
        monkeypatch.setenv(f"{service}_{end}", "tcp://10.0.0.1:80")
    monkeypatch.setenv("THINNED_MAX_ROW", "3")
    with pytest.raises(SettingsError) as caught:
        Settings.read()
    first, second = str(caught.value).split("; ", 2)[:2]
    assert first == "THINNED_MAX_ROW is no setting"
    assert str(caught.value).count("enableServiceLinks") == 1
    assert all(f"{service}_{end}" in str(caught.value) for end in ends)
    assert second == "did you mean THINNED_MAX_ROWS?"


def test_a_port_that_a_person_sets_is_no_service_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THINNED_PORT", "8080")
    with pytest.raises(SettingsError, match="THINNED_PORT is no setting"):
        Settings.read()
