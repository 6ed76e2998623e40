"""What Keras and TensorFlow say of an error, as one sentence.

Keras 3.15 wraps an error that is raised in a layer's call: a line that names the layer, the message between codes for
bold type, then the arguments, each on a line. TensorFlow 2.21 puts the node before the message, the operation after it,
and an assertion's own words in brackets.
"""

from __future__ import annotations

import re

__all__ = ["message_of"]

_BOLD = re.compile(r"\x1b\[\d*m")
_WRAPPED = re.compile(r"Exception encountered when calling (?P<place>[^\n]*?)\.?\s*\n(?P<message>.*)", re.DOTALL)
_NODES = re.compile(r"\{\{[^{}]*\}\}\s*")
_OPERATION = re.compile(r"\s*\[Op:[^\]]*\].*", re.DOTALL)
_ASSERTED = re.compile(r"assertion failed: \[([^\]]*)\]")
_LONGEST = 400


def message_of(error: BaseException) -> str:
    """The message of an error of Keras or TensorFlow, with the layer in whose call it arose; at most 400 characters."""
    text = _BOLD.sub("", str(error)).split("Arguments received by")[0].strip()
    asserted = _ASSERTED.search(text)
    if asserted:
        text = asserted[1].replace("\\'", "'")
    if (
        "[[{{" in text
    ):  # an error while a graph runs: where it was detected comes first, then the message, then its node
        text = text.split("[[{{")[0].strip().split("\n")[-1]
    wrapped = _WRAPPED.search(text)
    place = f"in {wrapped['place']}: " if wrapped else ""
    if wrapped and wrapped["message"].strip():
        text = wrapped["message"]
    text = " ".join(_OPERATION.sub("", _NODES.sub("", text)).split("\n\n")[0].split())
    text = text or type(error).__name__
    return place + (text if len(text) <= _LONGEST else text[:_LONGEST] + "…")
