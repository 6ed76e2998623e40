"""The page at `/ui` without a browser: its files, its headers, and who gets them."""

from __future__ import annotations

import re

import pytest

from tests.service.conftest import Served
from thinned.service.http.ui_page import FOLDER

FILES = sorted(path.name for path in FOLDER.iterdir() if path.name != "index.html")
KINDS = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}


def test_the_page_has_no_script_or_style_of_its_own_and_loads_nothing_from_elsewhere(classes: Served) -> None:
    page = classes.ask("GET", "/ui")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert not re.search(r"<style|\son\w+=|\sstyle=|<script(?![^>]*\ssrc=)", page.text)
    loaded = re.findall(r'(?:src|href)="\./(ui/[^"]+)"', page.text)
    assert {f"ui/{name}" for name in FILES if not name.endswith(".js")} | {"ui/main.js"} == set(loaded)
    for name in ("index.html", *FILES):
        text = (FOLDER / name).read_text()
        assert re.findall(r"(?:https?:)?//[\w.-]+\.\w+", re.sub(r"^\s*//.*$", "", text, flags=re.M)) in (
            [],
            ["http://www.w3.org"],  # the name of SVG
        )
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|new Function", text)


def test_the_policy_allows_files_from_here_alone(classes: Served) -> None:
    headers = classes.ask("GET", "/ui").headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert {policy[f"{kind}-src"] for kind in ("script", "style", "img", "connect")} == {"'self'"}
    assert {policy[name] for name in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}
    assert "unsafe" not in headers["content-security-policy"]
    assert (headers["x-frame-options"], headers["referrer-policy"]) == ("DENY", "no-referrer")


@pytest.mark.parametrize("name", FILES)
def test_a_file_has_its_kind_and_is_asked_for_anew(classes: Served, name: str) -> None:
    answer = classes.ask("GET", f"/ui/{name}")
    assert answer.content == (FOLDER / name).read_bytes()
    assert answer.headers["content-type"] == KINDS[name.rpartition(".")[2]]
    assert answer.headers["cache-control"] == "no-cache"
    again = classes.ask("GET", f"/ui/{name}", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert classes.ask("GET", f"/ui/{name}", headers={"if-none-match": '"other"'}).status_code == 200


def test_modules_import_what_is_there_and_all_are_imported() -> None:
    imported = {
        name
        for path in FOLDER.glob("*.js")
        for name in re.findall(r'^(?:import|\} from).*"\./([\w.]+)";$', path.read_text(), re.MULTILINE)
    }
    assert imported | {"main.js"} == {name for name in FILES if name.endswith(".js")}


@pytest.mark.parametrize("name", ["nope.js", "index.html", "%2e%2e", "..%2fui_page.py", "%00", "Main.js"])
def test_another_file_is_not_there(classes: Served, name: str) -> None:
    assert classes.ask("GET", f"/ui/{name}").status_code == 404


def test_with_a_slash_it_leads_to_the_page_under_any_path(classes: Served) -> None:
    answer = classes.ask("GET", "/ui/")
    assert (answer.status_code, answer.headers["location"]) == (307, "../ui")
    assert classes.ask("POST", "/ui").status_code == 405
    assert classes.ask("HEAD", "/ui").status_code == 200
