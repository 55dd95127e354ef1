"""FastVLM, its language model alone: Qwen2.

Its vision graph, a convolutional tower, is made elsewhere. A package made here has none, and sees nothing
until it is given one.
"""

from backends.export.checkpoint import Checkpoint
from backends.export.configuration import Section
from backends.export.decoder import read_decoder
from backends.export.model import Model
from backends.export.options import ExportOptions

MODEL_TYPES = ("llava_qwen2", "fast_vlm")


def read_original(checkpoint: Checkpoint, _: ExportOptions) -> Model:
    """A checkpoint in the format of apple/FastVLM-0.5B: the text model's configuration with that of the rest
    in fields that begin with mm_."""
    return _read(checkpoint.config, "model.")


def read_model(checkpoint: Checkpoint, _: ExportOptions) -> Model:
    """A checkpoint in the format of transformers 5.23, fast_vlm/configuration_fast_vlm.py."""
    return _read(checkpoint.config.section("text_config"), "model.language_model.", checkpoint.config)


def _read(text: Section, tensors: str, whole: Section | None = None) -> Model:
    """`whole` is the configuration around that of the text model, which says more of the head."""
    tied = text.flag("tie_word_embeddings", False)
    if whole is not None:
        tied = whole.flag("tie_word_embeddings", False) or tied
    text = Section(text.file, text.path, {**text.values, "model_type": "qwen2"})
    return Model("FastVLM", "llava_qwen2", read_decoder(text, tensors, tied), vision=None)
