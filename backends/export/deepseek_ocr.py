"""DeepSeek-OCR, its language model alone: layers like Llama's, with mixtures of experts behind the first.

Its vision graph is made elsewhere. A package made here has none, and sees nothing until it is given one.
"""

from dataclasses import replace

from backends.export.checkpoint import Checkpoint
from backends.export.configuration import Section
from backends.export.decoder import Experts, read_decoder
from backends.export.model import Model
from backends.export.options import ExportOptions

MODEL_TYPE, ARCHITECTURE = "deepseek_vl_v2", "DeepseekOCRForCausalLM"


def read_model(checkpoint: Checkpoint, _: ExportOptions) -> Model:
    """A checkpoint in the format of deepseek-ai/DeepSeek-OCR: config.json, configuration_deepseek_v2.py and
    modeling_deepseekv2.py, where the defaults are from."""
    config = checkpoint.config
    config.require("architectures", [ARCHITECTURE])  # DeepSeek-VL2 has the same model_type
    text = config.section("language_config") if "language_config" in config else config
    text.require("use_mla", False, default=True)
    text.require("scoring_func", "softmax", default="softmax")
    text.require("topk_method", "greedy", default="greedy")
    text.require("norm_topk_prob", False, default=False)
    text.require("moe_layer_freq", 1, default=1)
    plain = Section(text.file, text.path, {"rope_theta": 10000.0, **text.values, "model_type": "llama"})
    decoder = read_decoder(plain, "model.", config.flag("tie_word_embeddings", False))
    experts = Experts(
        num=text.integer("n_routed_experts"),
        num_chosen=text.integer("num_experts_per_tok"),
        num_shared=text.integer("n_shared_experts"),
        inner_size=text.integer("moe_intermediate_size"),
        first_layer=text.integer("first_k_dense_replace"),
        scale=text.number("routed_scaling_factor", 1.0),
    )
    text.check(
        experts.num_chosen <= experts.num, "num_experts_per_tok", f"no more than {experts.num}, all there are"
    )
    return Model("DeepSeekOCR", MODEL_TYPE, replace(decoder, experts=experts), vision=None)
