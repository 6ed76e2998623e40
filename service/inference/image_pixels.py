"""The pixels of PNG and JPEG files, decoded and resized by TensorFlow, which a worker has loaded."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.card import ImageResize
from thinned.models.errors import MisnamedBodyError
from thinned.service.schema.image_headers import PNG, Image
from thinned.service.schema.raw_body import ImageReader

__all__ = ["IMAGES", "decode_image", "resize_image"]

_ANTIALIAS = "-antialias"


def decode_image(image: Image) -> npt.NDArray[np.uint8]:
    """The pixels of an image, (height, width, channels), 0 to 255; with alpha as one channel more.

    Neither the orientation that a camera notes nor a colour profile is applied.

    Raises:
        MisnamedBodyError: It is broken behind its header.
    """
    import tensorflow as tf

    data = b"".join(image.data)
    try:
        with tf.device("CPU:0"):
            decoded: Any = (
                tf.io.decode_png(data) if image.kind == PNG else tf.io.decode_jpeg(data, dct_method="INTEGER_ACCURATE")
            )
    except tf.errors.InvalidArgumentError:
        raise MisnamedBodyError(f"expected an image of {image.kind}, received one that is broken") from None
    pixels: npt.NDArray[np.uint8] = decoded.numpy()
    if pixels.shape != (image.height, image.width, image.channels + image.alpha):
        raise MisnamedBodyError(f"expected an image of {image.kind}, received one that is not as its header says")
    return pixels


def resize_image(
    pixels: npt.NDArray[np.uint8], sides: tuple[int, int], method: ImageResize
) -> npt.NDArray[np.uint8 | np.float32]:
    """An image brought to other sides by `tf.image.resize`, stretched where they have another ratio.

    Args:
        pixels: (height, width, channels), 0 to 255.
        sides: Height and width to bring it to.
        method: One of its methods; those that end in "-antialias" are taken with `antialias=True`.

    Returns:
        (*sides, channels): bytes of "nearest", else float32 that is not rounded; "bicubic" may leave 0 to 255 a little.
    """
    import tensorflow as tf

    with tf.device("CPU:0"):
        resized: Any = tf.image.resize(
            pixels, sides, method=method.removesuffix(_ANTIALIAS), antialias=method.endswith(_ANTIALIAS)
        )
    found: npt.NDArray[np.uint8 | np.float32] = resized.numpy()
    return found


IMAGES = ImageReader(decode_image, resize_image)
