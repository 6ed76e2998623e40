"""The pixels of PNG and JPEG files, decoded by TensorFlow, which a worker has loaded."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from thinned.models.errors import MisnamedBodyError
from thinned.service.schema.image_headers import PNG, Image

__all__ = ["decode_image"]


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
