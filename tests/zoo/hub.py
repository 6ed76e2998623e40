"""Backbones and tasks of KerasHub, in tiny sizes, with dropout on. Needs the extra environment of `make zoo-hub`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import keras_hub

L, M = keras.layers, keras_hub.models

TINY = {"vocabulary_size": 30, "num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16, "dropout": 0.2}
PLACES = {"max_sequence_length": 16}
GROUPED = {
    "vocabulary_size": 30,
    "num_layers": 2,
    "num_query_heads": 2,
    "num_key_value_heads": 1,
    "hidden_dim": 8,
    "intermediate_dim": 16,
    "dropout": 0.2,
}
ENCODERS: dict[str, dict[str, Any]] = {
    "Bert": TINY | PLACES,
    "DistilBert": TINY | PLACES,
    "Roberta": TINY | PLACES,
    "XLMRoberta": TINY | PLACES,
    "Albert": TINY | PLACES | {"embedding_dim": 6},
    "DebertaV3": TINY | PLACES | {"bucket_size": 8},
    "FNet": {k: v for k, v in TINY.items() if k != "num_heads"} | PLACES,
    "XLNet": TINY,
    "T5": TINY,
    "Bart": TINY | PLACES,
    "GPT2": TINY | PLACES,
    "GPTNeoX": TINY | PLACES | {"rotary_percentage": 0.5},
    "OPT": TINY | PLACES,
    "Bloom": TINY,
    "ESM": TINY | PLACES,
    "RoformerV2": TINY | {"head_size": 4},
    "Electra": {k: v for k, v in TINY.items() if k != "vocabulary_size"}
    | PLACES
    | {"vocab_size": 30, "embedding_dim": 6},
    "Falcon": {
        "vocabulary_size": 30,
        "num_layers": 2,
        "num_attention_heads": 2,
        "hidden_dim": 8,
        "intermediate_dim": 16,
        "attention_dropout_rate": 0.2,
        "feedforward_dropout_rate": 0.2,
    },
    "Llama": GROUPED,
    "Llama3": GROUPED,
    "Mistral": GROUPED,
    "Phi3": GROUPED | {"max_sequence_length": 16, "pretraining_sequence_length": 16},
    "Qwen": GROUPED,
    "Gemma": GROUPED | {"head_dim": 4},
    "Mixtral": GROUPED | {"num_experts": 2},
}


def backbone(name: str, **options: Any) -> Any:
    """A backbone by its name, such as Bert."""
    return getattr(M, f"{name}Backbone")(**options)


def classifier(name: str) -> Any:
    """The task that puts a head on an encoder of text."""
    return getattr(M, f"{name}TextClassifier")(backbone(name, **ENCODERS[name]), num_classes=3, preprocessor=None)


def pooled(body: Any, side: int = 32) -> Any:
    """A backbone of images that has no dropout of its own, before a head that has."""
    inputs = keras.Input((side, side, 3))
    return keras.Model(inputs, L.Dense(4, "softmax")(L.Dropout(0.3)(L.GlobalAveragePooling2D()(body(inputs)))))


def vit() -> Any:
    return M.ViTBackbone(
        image_shape=(16, 16, 3),
        patch_size=8,
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        mlp_dim=16,
        dropout_rate=0.2,
        attention_dropout=0.1,
    )


def deit() -> Any:
    return M.DeiTBackbone(
        image_shape=(16, 16, 3),
        patch_size=8,
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        dropout_rate=0.2,
        attention_dropout=0.1,
    )


def dinov2() -> Any:
    return M.DINOV2Backbone(
        patch_size=8,
        num_layers=2,
        hidden_dim=8,
        num_heads=2,
        intermediate_dim=16,
        dropout_rate=0.2,
        drop_path_rate=0.2,
        image_shape=(16, 16, 3),
        position_embedding_shape=(16, 16),
    )


def swin() -> Any:
    return M.SwinTransformerBackbone(
        image_shape=(32, 32, 3),
        embed_dim=8,
        depths=(2, 2),
        num_heads=(1, 2),
        window_size=4,
        dropout_rate=0.1,
        drop_path=0.2,
    )


def mit() -> Any:
    return M.MiTBackbone(
        layerwise_depths=[2, 2],
        num_layers=2,
        layerwise_num_heads=[1, 2],
        layerwise_sr_ratios=[8, 4],
        max_drop_path_rate=0.2,
        layerwise_patch_sizes=[7, 3],
        layerwise_strides=[4, 2],
        image_shape=(32, 32, 3),
        hidden_dims=[8, 16],
    )


def segformer() -> Any:
    return M.SegFormerImageSegmenter(
        M.SegFormerBackbone(image_encoder=mit(), projection_filters=16), num_classes=3, preprocessor=None
    )


def resnet(**options: Any) -> Any:
    return M.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 64],
        stackwise_num_blocks=[2, 2],
        stackwise_num_strides=[1, 2],
        block_type="basic_block",
        image_shape=(32, 32, 3),
        **options,
    )


def efficientnet() -> Any:
    return M.EfficientNetBackbone(
        stackwise_kernel_sizes=[3, 5],
        stackwise_num_repeats=[2, 2],
        stackwise_input_filters=[16, 16],
        stackwise_output_filters=[16, 24],
        stackwise_expansion_ratios=[1, 4],
        stackwise_squeeze_and_excite_ratios=[0.25, 0.25],
        stackwise_strides=[1, 2],
        stackwise_block_types=["v1", "v1"],
        stackwise_force_input_filters=[0, 0],
        stackwise_nores_option=[False, False],
        stackwise_width_coefficients=[1.0, 1.0],
        stackwise_depth_coefficients=[1.0, 1.0],
        dropout=0.3,
        input_shape=(32, 32, 3),
    )


def densenet() -> Any:
    return pooled(M.DenseNetBackbone(stackwise_num_repeats=[2, 2], image_shape=(32, 32, 3), growth_rate=8))


def vgg() -> Any:
    return pooled(M.VGGBackbone(stackwise_num_repeats=[1, 1], stackwise_num_filters=[8, 16], image_shape=(32, 32, 3)))


def cspnet() -> Any:
    body = M.CSPNetBackbone(
        stem_filters=8,
        stem_kernel_size=3,
        stem_strides=1,
        stackwise_depth=[1, 2],
        stackwise_strides=[1, 2],
        stackwise_num_filters=[16, 32],
        block_type="dark_block",
        stage_type="dark",
        image_shape=(32, 32, 3),
    )
    return pooled(body)


def image_classifier() -> Any:
    return M.ResNetImageClassifier(resnet(), num_classes=4, preprocessor=None, dropout=0.4, activation="softmax")


def vit_classifier() -> Any:
    return M.ViTImageClassifier(vit(), num_classes=4, preprocessor=None, dropout=0.3)


def whisper() -> Any:
    return M.WhisperBackbone(**TINY, num_mels=8, max_encoder_sequence_length=20, max_decoder_sequence_length=8)


def masked_words() -> Any:
    return M.BertMaskedLM(backbone("Bert", **ENCODERS["Bert"]), preprocessor=None)


def next_words() -> Any:
    return M.GPT2CausalLM(backbone("GPT2", **ENCODERS["GPT2"]), preprocessor=None)


def sam() -> Any:
    side = 32
    return M.SAMBackbone(
        image_encoder=M.ViTDetBackbone(
            hidden_size=16,
            num_layers=2,
            intermediate_dim=32,
            num_heads=2,
            global_attention_layer_indices=[1],
            patch_size=8,
            num_output_channels=8,
            window_size=2,
            image_shape=(side, side, 3),
        ),
        prompt_encoder=keras_hub.layers.SAMPromptEncoder(
            hidden_size=8, image_embedding_size=(4, 4), input_image_size=(side, side), mask_in_channels=16
        ),
        mask_decoder=keras_hub.layers.SAMMaskDecoder(
            num_layers=2,
            hidden_size=8,
            intermediate_dim=16,
            num_heads=2,
            embedding_dim=8,
            num_multimask_outputs=3,
            iou_head_depth=2,
            iou_head_hidden_dim=8,
        ),
    )


def own_transformer() -> Any:
    """The layers of KerasHub in a model of one's own."""
    inputs = keras.Input((9,), dtype="int32")
    x = keras_hub.layers.TokenAndPositionEmbedding(20, 9, 8, mask_zero=True)(inputs)
    x = keras_hub.layers.TransformerEncoder(16, 2, dropout=0.2)(x)
    x = keras_hub.layers.TransformerDecoder(16, 2, dropout=0.2)(x)
    return keras.Model(inputs, L.Dense(3)(x[:, 0]))


HUB: dict[str, Callable[[], Any]] = (
    {name: lambda name=name: backbone(name, **ENCODERS[name]) for name in ENCODERS}
    | {
        f"{name}TextClassifier": lambda name=name: classifier(name)
        for name in ("Bert", "DistilBert", "Roberta", "Albert", "DebertaV3", "FNet")
    }
    | {
        function.__name__: function
        for function in (
            vit,
            vit_classifier,
            deit,
            dinov2,
            swin,
            mit,
            segformer,
            efficientnet,
            densenet,
            vgg,
            cspnet,
            image_classifier,
            whisper,
            masked_words,
            next_words,
            sam,
            own_transformer,
        )
    }
)
