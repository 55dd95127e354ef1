"""Qwen3: text only."""

from backends.export.checkpoint import Checkpoint
from backends.export.decoder import read_decoder
from backends.export.model import Model
from backends.export.options import ExportOptions


def read_model(checkpoint: Checkpoint, _: ExportOptions) -> Model:
    config = checkpoint.config
    decoder = read_decoder(config, "model.", tied=config.flag("tie_word_embeddings", False))
    return Model("Qwen3", "qwen3", decoder, vision=None)
