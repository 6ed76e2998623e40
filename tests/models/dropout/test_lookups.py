"""What a graph shows of its inputs: the table that all values are looked up in, and what may fill rows up."""

from __future__ import annotations

from typing import Any

import keras
import pytest
from keras import layers

from thinned.models.dropout import enable_mc_dropout, read_signature
from thinned.models.errors import UsageError
from thinned.models.storage.input_choices import check_padding, with_columns, with_padding


def ids(length: int | None = None, dtype: str = "int32") -> Any:
    return keras.Input((length,), dtype=dtype, name="ids")


def table(size: int, *, masked: bool = False) -> Any:
    return layers.Embedding(size, 3, mask_zero=masked)


def of(inputs: Any, outputs: Any) -> tuple[int | None, Any]:
    (spec,) = read_signature(keras.Model(inputs, outputs)).inputs
    return spec.table_size, spec.padding


def test_the_smallest_table_that_all_values_go_through_counts() -> None:
    x = ids(4)
    assert of(x, table(20)(x)) == (20, None)
    assert of(x, [table(20)(x), table(10)(layers.Reshape((2, 2))(x)), layers.Dense(2)(x)])[0] == 10
    assert of(x, keras.Model(x, table(7)(x))(x))[0] == 7
    floats = ids(4, "float32")
    assert of(floats, table(5)(floats))[0] == 5


def test_a_table_that_some_values_go_through_is_none_of_the_input() -> None:
    x = ids(4)
    assert of(x, [table(20)(x[:, 0]), layers.Dense(2)(x[:, 1:])])[0] is None
    assert of(x, table(20)(keras.ops.abs(x)))[0] is None


def test_a_masked_value_fills_rows_up_where_their_length_varies() -> None:
    x, steps = ids(), keras.Input((None, 2))
    assert of(x, layers.LSTM(2)(table(20, masked=True)(x)))[1] == 0
    assert of(x, layers.LSTM(2)(table(20)(x)))[1] is None
    assert of(steps, layers.LSTM(2)(layers.Masking(-1.0)(steps)))[1] == -1
    fixed = ids(4)
    assert of(fixed, layers.LSTM(2)(table(20, masked=True)(fixed)))[1] is None


@pytest.mark.filterwarnings("ignore:.*does not support masking:UserWarning")
def test_what_changes_answers_is_not_filled_in_unasked() -> None:
    x = ids()
    deaf = keras.Model(x, layers.Dense(1)(layers.Dropout(0.5)(layers.GlobalMaxPool1D()(table(20, masked=True)(x)))))
    heeding = keras.Model(x, layers.Dense(1)(layers.Dropout(0.5)(layers.LSTM(2)(table(20, masked=True)(x)))))
    model = enable_mc_dropout(deaf)
    assert model.inputs[0].padding == 0
    assert check_padding(model, model.inputs, given={})[0][0].padding is None
    asked = with_padding(model.inputs, {None: "3"})
    kept, (warning,) = check_padding(model, asked, given={None: "3"})
    assert kept[0].padding == 3
    assert "filled up with 3, which changes their answers" in warning
    model = enable_mc_dropout(heeding)
    assert check_padding(model, model.inputs, given={}) == (model.inputs, ())


def test_columns_are_named_for_each_of_several_inputs() -> None:
    x, y = keras.Input((2,), name="x"), keras.Input((1,), name="y")
    specs = read_signature(keras.Model([x, y], layers.Concatenate()([x, y]))).inputs
    assert [spec.columns for spec in with_columns(specs, {"x": ("a", "b")})] == [("a", "b"), None]
    with pytest.raises(UsageError, match="several inputs; name one, as in --feature-names x="):
        with_columns(specs, {None: ("a", "b", "c")})
    with pytest.raises(UsageError, match="'y' is there"):
        with_columns(specs, {"x": ("a", "y")})
