"""What may be said of an input at import: that images of another size are resized to it."""

from __future__ import annotations

import pytest

from tests.service.cards import IMAGE, TOKENS
from thinned.models.card import InputSpec
from thinned.models.errors import UsageError
from thinned.models.storage.input_choices import with_image_resize


def spec(*shape: int | None, dtype: str = "float32") -> InputSpec:
    return InputSpec(name="x", shape=shape, dtype=dtype)


@pytest.mark.parametrize("one", [spec(8, 9), spec(8, 9, 1), spec(8, 9, 3), spec(8, 9, 3, dtype="uint8")])
def test_images_of_one_size_may_be_resized_to(one: InputSpec) -> None:
    assert with_image_resize([one], {}) == (one,)
    (found,) = with_image_resize([one], {None: "area"})
    assert found.image_resize == "area"
    assert with_image_resize([one, TOKENS], {"x": "nearest"})[1] == TOKENS


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (spec(3), "expects an input of numbers of shape"),
        (spec(3, 8, 9), "expects an input of numbers of shape"),
        (spec(8, 9, 3, 1), "expects an input of numbers of shape"),
        (spec(8, 9, None), "expects an input of numbers of shape"),
        (spec(8, 9, dtype="string"), "takes string of shape"),
        (spec(8, 9, dtype="bool"), "takes bool of shape"),
        (spec(None, 9, 3), "takes images of any size"),
        (spec(8, None), "Give it one size: --input-shape"),
    ],
)
def test_what_is_no_image_of_one_size_is_refused(one: InputSpec, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        with_image_resize([one], {None: "bilinear"})


def test_an_input_is_named_as_everywhere() -> None:
    with pytest.raises(UsageError, match="--image-resize expects an input of the model"):
        with_image_resize([IMAGE], {"größe": "bilinear"})
    with pytest.raises(UsageError, match="several inputs; name one"):
        with_image_resize([IMAGE, TOKENS], {None: "bilinear"})
