"""Which models a list of references names, and which of them answer unseen."""

from __future__ import annotations

import pytest

from thinned.service.references import Reference, read_references


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", [Reference("a", "a")]),
        (" a:1   b@live ", [Reference("a:1", "a"), Reference("b@live", "b")]),
        ("a b@shadow", [Reference("a", "a"), Reference("b", "b", "a")]),
        ("a b c@live@shadow", [Reference("a", "a"), Reference("b", "b"), Reference("c@live", "c", "b")]),
        ("a:1 b a:2", [Reference("a:1", "a"), Reference("b", "b"), Reference("a:2", "a", "a")]),
        (
            "a b a:2@shadow b:3",
            [Reference("a", "a"), Reference("b", "b"), Reference("a:2", "a", "a"), Reference("b:3", "b", "b")],
        ),
    ],
)
def test_a_shadow_is_that_of_its_name_else_of_the_model_before_it(text: str, expected: list[Reference]) -> None:
    assert list(read_references(text)) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected the name of a model"),
        ("  ", "expected the name of a model"),
        ("a@shadow", "before a shadow, received 'a@shadow' first"),
        ("a b@shadow c@shadow", "one shadow at most of 'a', received 'c@shadow'"),
        ("a a a", "one shadow at most of 'a'"),
    ],
)
def test_what_cannot_be_served_together_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_references(text)
