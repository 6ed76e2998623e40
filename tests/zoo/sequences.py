"""Networks over time: recurrent ones, convolutions, transformers, sentences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

L, ops = keras.layers, keras.ops
WORDS = ["good", "bad", "film", "plot", "very"]


@keras.saving.register_keras_serializable("sequences")
class TokenAndPosition(L.Layer):
    """Embeddings of tokens, and of where they stand."""

    def __init__(self, length: int, words: int, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.length, self.words, self.width = length, words, width
        self.tokens, self.places = L.Embedding(words, width), L.Embedding(length, width)

    def build(self, shape: Any) -> None:
        self.tokens.build(shape)
        self.places.build((self.length,))

    def call(self, x: Any) -> Any:
        return self.tokens(x) + self.places(ops.arange(ops.shape(x)[-1]))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "length": self.length, "words": self.words, "width": self.width}


@keras.saving.register_keras_serializable("sequences")
class EncoderBlock(L.Layer):
    """The encoder block of the documentation's examples: attention and a dense part, each with dropout."""

    def __init__(self, width: int, heads: int, rate: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width, self.heads, self.rate = width, heads, rate
        self.attention = L.MultiHeadAttention(heads, width // heads, dropout=rate)
        self.dense = keras.Sequential([L.Dense(2 * width, "relu"), L.Dense(width)])
        self.first, self.second = L.LayerNormalization(epsilon=1e-6), L.LayerNormalization(epsilon=1e-6)
        self.drop_first, self.drop_second = L.Dropout(rate), L.Dropout(rate)

    def build(self, shape: Any) -> None:
        self.attention.build(shape, shape)
        for layer in (self.dense, self.first, self.second):
            layer.build(shape)

    def call(self, x: Any, training: Any = None) -> Any:
        x = self.first(x + self.drop_first(self.attention(x, x, training=training), training=training))
        return self.second(x + self.drop_second(self.dense(x), training=training))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width, "heads": self.heads, "rate": self.rate}


@keras.saving.register_keras_serializable("sequences")
class BahdanauDecoder(L.Layer):
    """A decoder that runs its cell in a Python loop, and looks at the encoder's states at each step."""

    def __init__(self, units: int, steps: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.steps = units, steps
        self.cell, self.query, self.key, self.score = L.GRUCell(units), L.Dense(units), L.Dense(units), L.Dense(1)
        self.drop, self.last = L.Dropout(0.3), L.Dense(4, "softmax")

    def build(self, shape: Any) -> None:
        self.cell.build((None, shape[-1]))
        self.query.build((None, self.units))
        self.key.build(shape)
        self.score.build((None, shape[1], self.units))
        self.last.build((None, self.units))

    def call(self, states: Any, training: Any = None) -> Any:
        state, outputs = states[:, -1], []
        for _ in range(self.steps):
            score = self.score(ops.tanh(ops.expand_dims(self.query(state), 1) + self.key(states)))
            context = ops.sum(ops.softmax(score, axis=1) * states, axis=1)
            state, _ = self.cell(context, [state])
            outputs.append(self.last(self.drop(state, training=training)))
        return ops.stack(outputs, axis=1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units, "steps": self.steps}


@keras.saving.register_keras_serializable("sequences")
class NoisyCell(L.Layer):
    """A cell of one's own, with a dropout inside: each step draws anew."""

    def __init__(self, units: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.state_size, self.output_size = units, units, units
        self.dense, self.drop = L.Dense(units, "tanh"), L.Dropout(0.3)

    def build(self, shape: Any) -> None:
        self.dense.build((None, shape[-1] + self.units))

    def call(self, x: Any, states: Any, training: Any = None) -> Any:
        new = self.drop(self.dense(ops.concatenate([x, states[0]], axis=-1)), training=training)
        return new, [new]

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


def stacked_lstm() -> Any:
    x = inputs = keras.Input((8, 3))
    x = L.LSTM(8, return_sequences=True, dropout=0.2)(x)
    x = L.Dropout(0.3)(L.LSTM(6, recurrent_dropout=0.2)(x))
    return keras.Model(inputs, L.Dense(1)(x))


def gru_of_any_length() -> Any:
    inputs = keras.Input((None, 2))
    return keras.Model(inputs, L.Dense(1)(L.GRU(6, dropout=0.3, recurrent_dropout=0.3)(inputs)))


def masked_recurrent() -> Any:
    """Padding of zeros, by a masking layer."""
    inputs = keras.Input((6, 3))
    x = L.Bidirectional(L.LSTM(5, dropout=0.2, return_sequences=True))(L.Masking()(inputs))
    return keras.Model(inputs, L.Dense(2)(L.LSTM(4)(x)))


def bidirectional_tagger() -> Any:
    inputs = keras.Input((None,), dtype="int32")
    x = L.SpatialDropout1D(0.2)(L.Embedding(15, 6, mask_zero=True)(inputs))
    x = L.Bidirectional(L.LSTM(5, return_sequences=True, dropout=0.2, recurrent_dropout=0.2))(x)
    return keras.Model(inputs, L.TimeDistributed(L.Dense(4, "softmax"))(x))


def own_cell() -> Any:
    inputs = keras.Input((5, 3))
    return keras.Model(inputs, L.Dense(2)(L.RNN(NoisyCell(6))(inputs)))


def stacked_cells() -> Any:
    inputs = keras.Input((5, 3))
    cells = L.StackedRNNCells([L.LSTMCell(4, dropout=0.2), L.GRUCell(4, recurrent_dropout=0.2)])
    return keras.Model(inputs, L.Dense(2)(L.RNN(cells)(inputs)))


def unrolled() -> Any:
    inputs = keras.Input((4, 3))
    return keras.Model(inputs, L.Dense(1)(L.SimpleRNN(5, dropout=0.3, recurrent_dropout=0.2, unroll=True)(inputs)))


def backwards_with_state() -> Any:
    """States go from an encoder to a decoder."""
    inputs = keras.Input((6, 3))
    x, h, c = L.LSTM(5, return_state=True, go_backwards=True, dropout=0.2)(inputs)
    x = L.LSTM(5, return_sequences=True, dropout=0.3)(L.RepeatVector(4)(x), initial_state=[h, c])
    return keras.Model(inputs, L.TimeDistributed(L.Dense(2))(x))


def conv_lstm_stack() -> Any:
    inputs = keras.Input((3, 6, 6, 1))
    x = L.ConvLSTM2D(3, 3, padding="same", return_sequences=True, dropout=0.2)(inputs)
    x = L.ConvLSTM2D(2, 3, padding="same", recurrent_dropout=0.2)(L.BatchNormalization()(x))
    return keras.Model(inputs, L.Conv2D(1, 3, padding="same")(x))


def conv_lstm_1d() -> Any:
    inputs = keras.Input((3, 8, 2))
    x = L.ConvLSTM1D(3, 3, dropout=0.2, recurrent_dropout=0.2)(inputs)
    return keras.Model(inputs, L.Dense(1)(L.Flatten()(x)))


def sequence_to_sequence() -> Any:
    """Teacher forcing, with attention over the encoder."""
    source, target = keras.Input((6,), dtype="int32", name="source"), keras.Input((5,), dtype="int32", name="target")
    encoded, state = L.GRU(8, return_sequences=True, return_state=True, dropout=0.2)(L.Embedding(12, 6)(source))
    decoded = L.GRU(8, return_sequences=True, dropout=0.2)(L.Embedding(12, 6)(target), initial_state=state)
    x = L.Concatenate()([decoded, L.AdditiveAttention(dropout=0.1)([decoded, encoded])])
    return keras.Model([source, target], L.Dense(12, "softmax")(L.Dropout(0.3)(x)))


def decoder_in_a_python_loop() -> Any:
    inputs = keras.Input((5, 3))
    return keras.Model(inputs, BahdanauDecoder(6, 3)(L.GRU(6, return_sequences=True, dropout=0.1)(inputs)))


def causal_convolutions() -> Any:
    """A temporal convolutional network: residual blocks, each reaching further back."""
    x = inputs = keras.Input((24, 2))
    for dilation in (1, 2, 4):
        h = x
        for _ in range(2):
            h = L.Conv1D(6, 3, padding="causal", dilation_rate=dilation, activation="relu")(h)
            h = L.SpatialDropout1D(0.2)(L.LayerNormalization()(h))
        x = L.Add()([L.Conv1D(6, 1)(x), h])
    return keras.Model(inputs, L.Dense(1)(x[:, -1]))


def gated_convolutions() -> Any:
    """Like WaveNet: gates, dilations, skips that are summed."""
    x = L.Conv1D(6, 2, padding="causal")(inputs := keras.Input((None, 1)))
    skips = []
    for dilation in (1, 2, 4):
        h = L.Dropout(0.2)(x)
        gate = L.Conv1D(6, 2, padding="causal", dilation_rate=dilation, activation="sigmoid")(h)
        h = L.Multiply()([gate, L.Conv1D(6, 2, padding="causal", dilation_rate=dilation, activation="tanh")(h)])
        skips.append(L.Conv1D(6, 1)(h))
        x = L.Add()([x, skips[-1]])
    return keras.Model(inputs, L.Conv1D(4, 1, activation="softmax")(L.ReLU()(L.Add()(skips))))


def n_beats() -> Any:
    """Blocks that each explain a part of the past, and add to the forecast."""
    rest = inputs = keras.Input((10,))
    forecast: Any = 0.0
    for _ in range(3):
        h = L.Dropout(0.2)(L.Dense(16, "relu")(L.Dense(16, "relu")(rest)))
        rest = rest - L.Dense(10)(h)
        forecast = forecast + L.Dense(3)(h)
    return keras.Model(inputs, forecast)


def text_cnn() -> Any:
    inputs = keras.Input((1,), dtype="string")
    x = L.Embedding(8, 6)(L.TextVectorization(vocabulary=WORDS, output_sequence_length=10)(inputs))
    x = L.Concatenate()([L.GlobalMaxPooling1D()(L.Conv1D(4, size, activation="relu")(x)) for size in (2, 3, 4)])
    return keras.Model(inputs, L.Dense(2, "softmax")(L.Dropout(0.5)(x)))


def bag_of_words() -> Any:
    inputs = keras.Input((1,), dtype="string")
    x = L.TextVectorization(vocabulary=WORDS, output_mode="tf_idf", idf_weights=[1.0, 2.0, 1.5, 1.2, 0.4])(inputs)
    return keras.Model(inputs, L.Dense(1, "sigmoid")(L.Dropout(0.5)(L.Dense(8, "relu")(x))))


def sentences_with_masks() -> Any:
    inputs = keras.Input((8,), dtype="int32")
    x = L.Embedding(20, 6, mask_zero=True)(inputs)
    x = L.Dropout(0.3)(L.Bidirectional(L.GRU(4))(x))
    return keras.Model(inputs, L.Dense(1, "sigmoid")(x))


def encoder() -> Any:
    inputs = keras.Input((10,), dtype="int32")
    x = EncoderBlock(8, 2)(EncoderBlock(8, 2)(TokenAndPosition(10, 20, 8)(inputs)))
    return keras.Model(inputs, L.Dense(2, "softmax")(L.Dropout(0.1)(L.GlobalAveragePooling1D()(x))))


def decoder() -> Any:
    """Causal attention: a word for each place."""
    inputs = keras.Input((7,), dtype="int32")
    x = TokenAndPosition(7, 12, 8)(inputs)
    h = L.MultiHeadAttention(2, 4, dropout=0.1)(x, x, use_causal_mask=True)
    x = L.LayerNormalization()(x + L.Dropout(0.1)(h))
    x = L.LayerNormalization()(x + L.Dropout(0.1)(L.Dense(8)(L.Dense(16, "relu")(x))))
    return keras.Model(inputs, L.Dense(12)(x))


def encoder_and_decoder() -> Any:
    source, target = keras.Input((6,), dtype="int32", name="source"), keras.Input((5,), dtype="int32", name="target")
    encoded = EncoderBlock(8, 2)(TokenAndPosition(6, 12, 8)(source))
    x = TokenAndPosition(5, 12, 8)(target)
    x = L.LayerNormalization()(x + L.MultiHeadAttention(2, 4, dropout=0.1)(x, x, use_causal_mask=True))
    x = L.LayerNormalization()(x + L.MultiHeadAttention(2, 4, dropout=0.1)(x, encoded))
    return keras.Model([source, target], L.Dense(12, "softmax")(L.Dropout(0.2)(x)))


def masked_transformer() -> Any:
    """The mask of the padding goes into the attention."""
    inputs = keras.Input((9,), dtype="int32")
    x = L.Embedding(15, 8, mask_zero=True)(inputs)
    x = L.LayerNormalization()(L.Add()([x, L.MultiHeadAttention(2, 4, dropout=0.2)(x, x)]))
    return keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling1D()(L.Dropout(0.2)(x))))


def grouped_queries() -> Any:
    inputs = keras.Input((6, 8))
    x = L.RMSNormalization()(inputs)
    x = inputs + L.GroupQueryAttention(4, 4, 2, dropout=0.2)(x, x, use_causal_mask=True)
    gate = L.Dense(12, "silu")(x) * L.Dense(12)(x)
    return keras.Model(inputs, L.Dense(3)(L.Dropout(0.1)(gate))[:, -1])


def dot_attention() -> Any:
    query, value = keras.Input((3, 6), name="query"), keras.Input((5, 6), name="value")
    x = L.Attention(use_scale=True, dropout=0.3)([L.Dense(6)(query), L.Dense(6)(value)])
    return keras.Model([query, value], L.Dense(2)(L.GlobalAveragePooling1D()(x)))


def attention_pooling() -> Any:
    inputs = keras.Input((7, 4))
    weight = ops.softmax(L.Dense(1)(L.Dense(6, "tanh")(inputs)), axis=1)
    x = ops.sum(weight * L.Dropout(0.3)(L.Dense(6)(inputs)), axis=1)
    return keras.Model(inputs, L.Dense(2, "softmax")(x))


def fourier_mixing() -> Any:
    """Attention replaced by a Fourier transform, as in FNet."""
    inputs = keras.Input((8, 6))
    real, _ = ops.fft2((inputs, ops.zeros_like(inputs)))
    x = L.LayerNormalization()(inputs + L.Dropout(0.2)(real))
    return keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling1D()(x)))


def spectrogram() -> Any:
    inputs = keras.Input((256, 1))
    x = L.STFTSpectrogram(mode="log", frame_length=64, frame_step=32)(inputs)
    return keras.Model(inputs, L.Dense(3)(L.GRU(5, dropout=0.2)(L.Dropout(0.2)(x))))


SEQUENCES: dict[str, Callable[[], Any]] = {
    function.__name__: function
    for function in (
        stacked_lstm,
        gru_of_any_length,
        masked_recurrent,
        bidirectional_tagger,
        own_cell,
        stacked_cells,
        unrolled,
        backwards_with_state,
        conv_lstm_stack,
        conv_lstm_1d,
        sequence_to_sequence,
        decoder_in_a_python_loop,
        causal_convolutions,
        gated_convolutions,
        n_beats,
        text_cnn,
        bag_of_words,
        sentences_with_masks,
        encoder,
        decoder,
        encoder_and_decoder,
        masked_transformer,
        grouped_queries,
        dot_attention,
        attention_pooling,
        fourier_mixing,
        spectrogram,
    )
}
