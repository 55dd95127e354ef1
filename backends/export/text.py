"""Language models without eyes: Llama, Qwen2 and Qwen3."""

from backends.export.checkpoint import Checkpoint
from backends.export.decoder import read_decoder
from backends.export.model import Model
from backends.export.options import ExportOptions

# What the vendor calls them, and a few others that are the same.
NAMES = {"llama": "Llama", "qwen2": "Qwen2_5", "qwen3": "Qwen3"}


def read_model(checkpoint: Checkpoint, _: ExportOptions) -> Model:
    config = checkpoint.config
    decoder = read_decoder(config, "model.", tied=config.flag("tie_word_embeddings", False))
    model_type = config.text("model_type")
    return Model(NAMES[model_type], model_type, decoder, vision=None)
