"""What models must agree on to be one ensemble, by their cards alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.service.cards import CLASSES, CODE, IMAGE, ROOM, TOKENS, VALUE, card
from thinned.models.card import Calibration, InputSpec, MemberSpec, OutputSpec
from thinned.models.errors import UnsupportedModelError
from thinned.models.storage.agreement import Agreement, agree
from thinned.models.storage.stored_model import StoredModel

PADDED = TOKENS.model_copy(update={"padding": 0, "table_size": 9})


def stored(
    name: str, inputs: Sequence[InputSpec] = (IMAGE,), outputs: Sequence[OutputSpec] = (VALUE,), **fields: object
) -> StoredModel:
    return StoredModel(card(inputs, outputs).model_copy(update={"name": name, **fields}), "v", Path())


def of(*inputs: Sequence[InputSpec]) -> Agreement:
    return agree([stored(f"m{i}", each) for i, each in enumerate(inputs)])


def test_what_one_member_knows_otherwise_is_not_promised() -> None:
    (same,) = of([PADDED], [PADDED]).inputs
    assert (same.padding, same.table_size) == (0, 9)
    other = PADDED.model_copy(update={"padding": 1, "table_size": 5})
    (found,) = of([PADDED], [other]).inputs
    assert (found.padding, found.table_size) == (None, 5)
    resized = IMAGE.model_copy(update={"image_resize": "area"})
    assert of([resized], [resized]).inputs == (resized,)
    assert of([resized], [IMAGE]).inputs == of([IMAGE], [resized]).inputs == (IMAGE,)
    (code,) = of([CODE], [CODE.model_copy(update={"missing": None})]).inputs
    assert code.missing is None


def test_columns_are_those_of_whoever_names_them_and_in_one_order() -> None:
    bare = ROOM.model_copy(update={"columns": None})
    assert of([bare], [ROOM]).inputs[0].columns == ("seats", "floor")
    turned = ROOM.model_copy(update={"columns": ("floor", "seats")})
    with pytest.raises(UnsupportedModelError, match=r"columns of the input 'room' of m1:v is \(floor, seats\)"):
        of([ROOM], [turned])


def test_a_lone_input_is_matched_by_place_and_several_by_name() -> None:
    named = IMAGE.model_copy(update={"name": "input_layer_2"})
    assert of([IMAGE], [named]).inputs[0].name == "image"
    found = of([IMAGE, PADDED], [PADDED, IMAGE])
    assert found.inputs_of == ((0, 1), (1, 0))
    assert [spec.name for spec in found.inputs] == ["image", "tokens"]
    with pytest.raises(UnsupportedModelError, match=r"m1:v takes 'input_layer_2', 'tokens', where m0:v has 'image'"):
        of([IMAGE, PADDED], [named, PADDED])


def test_outputs_are_matched_by_name_else_by_order_and_calibrations_are_left_out() -> None:
    fitted = VALUE.model_copy(update={"noise": (1.0,), "calibration": Calibration(rows=9, n_samples=8, scores=())})
    found = agree([stored("a", outputs=(fitted, CLASSES)), stored("b", outputs=(CLASSES, VALUE))])
    assert found.outputs_of == ((0, 1), (1, 0))
    assert found.notes == ()
    assert [(o.noise, o.calibration, o.members) for o in found.outputs] == [(None, None, 2)] * 2
    renamed = VALUE.model_copy(update={"name": "dense_7"})
    (note,) = agree([stored("a"), stored("b", outputs=(renamed,))]).notes
    assert "'dense_7' of b:v is taken for 'value' of a:v" in note


def test_labels_of_one_member_are_those_of_all_and_others_are_refused() -> None:
    labelled = CLASSES.model_copy(update={"labels": ("a", "b", "c", "d")})
    found = agree([stored("a", outputs=(CLASSES,)), stored("b", outputs=(labelled,))])
    assert found.outputs[0].labels == labelled.labels
    assert "those of b:v" in found.notes[0]


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (stored("b", outputs=(VALUE, CLASSES)), "b:v answers 'value', 'classes', where a:v has 'value'"),
        (stored("b", [IMAGE.model_copy(update={"dtype": "int32"})]), "dtype of the input 'image' of b:v is int32"),
        (stored("b", members=(MemberSpec(name="c", version="w", sha256="0" * 64),) * 2), r"ensemble itself.*c:w c:w"),
        (stored("b", outputs=(VALUE.model_copy(update={"dtype": "int32"}),)), "holds int32"),
        (stored("b", outputs=(VALUE.model_copy(update={"task": "quantile"}),)), "task of the output 'value' of b:v"),
    ],
)
def test_what_differs_is_named_with_its_member(second: StoredModel, words: str) -> None:
    with pytest.raises(UnsupportedModelError, match=words):
        agree([stored("a"), second])


def test_all_that_differs_is_told_at_once() -> None:
    other = stored("b", [IMAGE.model_copy(update={"shape": (9, 9)})], (VALUE.model_copy(update={"shape": (7,)}),))
    with pytest.raises(UnsupportedModelError) as refused:
        agree([stored("a"), other, other])
    assert all(word in str(refused.value) for word in ("(9, 9)", "(2, 3)", "(7)", "(1)"))
    assert str(refused.value).count("(9, 9)") == 1


def test_layers_of_one_s_own_come_from_one_module() -> None:
    for fields in ({"package": "keras_hub"}, {"module_sha256": "1" * 64}):
        agree([stored("a", **fields), stored("b"), stored("c", **fields)])
    with pytest.raises(UnsupportedModelError, match="one file"):
        agree([stored("a", package="keras_hub"), stored("b", module_sha256="1" * 64)])
