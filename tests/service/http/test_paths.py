from __future__ import annotations

import pytest

from thinned.service.http.paths import Paths, is_costly, is_protocol

PATHS = Paths({"/predict", "/v2", "/v2/models/{name}", "/v2/models/{name}/infer"})


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/predict", "/predict"),
        ("/predict/", None),
        ("/v2", "/v2"),
        ("/v2/models/a", "/v2/models/{name}"),
        ("/v2/models/{name}", "/v2/models/{name}"),
        ("/v2/models/a b é/infer", "/v2/models/{name}/infer"),
        ("/v2/models//infer", None),
        ("/v2/models/a/b/infer", None),
        ("/v2/models/" + "a/" * 100_000, None),
        ("", None),
    ],
)
def test_a_path_has_one_route_or_none(path: str, route: str | None) -> None:
    assert PATHS.route_of(path) == route


@pytest.mark.parametrize(
    "path", [b"/predict", b"/%70redict_mc", b"/v2/models/a/infer", b"/v2/models/a/versions/1/%69nfer"]
)
def test_paths_of_rows_are_costly_however_they_are_written(path: bytes) -> None:
    assert is_costly(path)


@pytest.mark.parametrize("path", [b"/", b"/livez", b"/v2/models/a/ready", b"/v2/infer", b"/\xff%ff%", b""])
def test_others_are_not(path: bytes) -> None:
    assert not is_costly(path)


def test_the_protocol_has_its_own_paths() -> None:
    assert [is_protocol(path) for path in ("/v2", "/v2/", "/v2/x", "/v20", "/predict")] == [
        True,
        True,
        True,
        False,
        False,
    ]
