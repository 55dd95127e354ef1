"""MiniCPM-V 2.6 with tiny weights.

It is not in transformers, but its language model and its tower are. The rest, such as the resampler, is
stated here once more with torch's functions, after resampler.py and modeling_navit_siglip.py of
openbmb/MiniCPM-V-2_6.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

from backends.base import Array, TensorSpec
from backends.export import ExportOptions
from tests.export.checkpoints import Config, Shapes, text_config, text_shapes, write
from tests.families.case import FamilyCase, Inputs, Reference
from tests.families.tokenizer import VOCAB, tiny_tokenizer, write_tokenizer
from tests.vision import minicpmv_reference as reference

EDGE, PATCH, TABLE, QUERIES = 32, 8, 7, 4
HIDDEN, SIZE, INNER, DEPTH = 128, 32, 48, 3
SPECIAL = ["<image>", "</image>", "<slice>", "</slice>", "<image_id>", "</image_id>", "<unk>"]
MARKER = "(<image>./</image>)"
TEMPLATE = Path(__file__).parents[2] / "gateway" / "chat" / "templates" / "minicpm-v-2.6.jinja"


@dataclass(frozen=True)
class TinyMiniCPMV:
    """A checkpoint folder as published: the text model's fields at the top of config.json."""

    drop_last: bool = False

    def __call__(self, folder: Path, seed: int) -> None:
        text = text_config(VOCAB, 3, HIDDEN, 4, 2, 32, "qwen2")
        config = text | {
            "architectures": ["MiniCPMV"],
            "model_type": "minicpmv",
            "version": 2.6,
            "tie_word_embeddings": False,
            "image_size": EDGE,
            "patch_size": PATCH,
            "query_num": QUERIES,
            "drop_vision_last_layer": self.drop_last,
            "vision_config": vision_config() | {"image_size": TABLE * PATCH},
        }
        shapes = text_shapes(text, "llm.model.", tied=True) | {"llm.lm_head.weight": (VOCAB, HIDDEN)}
        write(folder, config, shapes | vision_shapes(), seed, np.float32)
        source = TEMPLATE.read_text("utf-8")
        write_tokenizer(folder, tiny_tokenizer(SPECIAL), source, {})


def vision_config() -> Config:
    return {
        "model_type": "siglip_vision_model",
        "hidden_size": SIZE,
        "intermediate_size": INNER,
        "num_hidden_layers": DEPTH,
        "num_attention_heads": 2,
        "patch_size": PATCH,
        "hidden_act": "gelu_pytorch_tanh",
        "layer_norm_eps": 0.001,  # large enough to be missed
    }


def vision_shapes() -> Shapes:
    names: Shapes = {
        "vpm.embeddings.patch_embedding": (SIZE, 3, PATCH, PATCH),
        "vpm.post_layernorm": (SIZE,),
        "resampler.attn.out_proj": (HIDDEN, HIDDEN),
        **{f"resampler.ln_{name}": (HIDDEN,) for name in ("q", "kv", "post")},
    }
    for index in range(DEPTH):
        block = f"vpm.encoder.layers.{index}."
        names |= {f"{block}self_attn.{part}_proj": (SIZE, SIZE) for part in ("q", "k", "v", "out")}
        names |= {f"{block}layer_norm{number}": (SIZE,) for number in (1, 2)}
        names |= {f"{block}mlp.fc1": (INNER, SIZE), f"{block}mlp.fc2": (SIZE, INNER)}
    shapes = {f"{name}.weight": shape for name, shape in names.items()}
    shapes |= {f"{name}.bias": shape[:1] for name, shape in names.items()}
    return shapes | {
        "vpm.embeddings.position_embedding.weight": (TABLE**2, SIZE),
        "resampler.query": (QUERIES, HIDDEN),
        "resampler.kv_proj.weight": (HIDDEN, SIZE),
        "resampler.attn.in_proj_weight": (3 * HIDDEN, HIDDEN),
        "resampler.attn.in_proj_bias": (3 * HIDDEN,),
        "resampler.proj": (HIDDEN, HIDDEN),
    }


def views(picture: Image.Image, max_slices: int) -> list[Array]:
    """(rows, columns, 3) uint8: the whole, then the slices, each stretched to the one size of the graph."""
    found = reference.grid(picture.size, EDGE, max_slices)
    columns, rows = found or (0, 0)
    pictures = [picture.resize((EDGE, EDGE), Image.Resampling.BICUBIC)]
    if found:
        canvas = picture.resize((columns * EDGE, rows * EDGE), Image.Resampling.BICUBIC)
        for top in range(0, canvas.height, EDGE):
            for left in range(0, canvas.width, EDGE):
                pictures.append(canvas.crop((left, top, left + EDGE, top + EDGE)))
    return [np.asarray(each) for each in pictures]


def normal(view: Array) -> Array:
    """(3, rows, columns) float32."""
    found: Array = ((view.astype(np.float32) / 255 - np.float32(0.5)) / np.float32(0.5)).transpose(2, 0, 1)
    return found


class MiniCPMVReference(Reference):
    def __init__(self, max_slices: int, drop_last: bool) -> None:
        self._max_slices = max_slices
        self._drop_last = drop_last

    def runs(self, folder: Path, picture: Image.Image, graph_input: TensorSpec) -> Sequence[Array]:
        import torch

        found = views(picture, self._max_slices)
        if graph_input.dtype == "uint8":
            return [view[np.newaxis] for view in found]
        planes = [normal(view)[np.newaxis] for view in found]
        if graph_input.shape[2] == EDGE:
            return planes
        unfolded = [
            torch.nn.functional.unfold(torch.from_numpy(each), PATCH, stride=PATCH) for each in planes
        ]
        blocks = [each.reshape(3, PATCH, PATCH, -1).permute(0, 1, 3, 2) for each in unfolded]
        return [each.reshape(1, 3, PATCH, -1).contiguous().numpy() for each in blocks]

    def inputs(self, folder: Path, text: str, pictures: Sequence[Image.Image]) -> Inputs:
        import torch

        for picture in pictures:
            found = reference.grid(picture.size, EDGE, self._max_slices)
            text = text.replace(MARKER, reference.text(found, QUERIES), 1)
        ids = self.tokenizer(folder)(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        if not pictures:
            return {"input_ids": ids}
        planes = [normal(view) for picture in pictures for view in views(picture, self._max_slices)]
        return {"input_ids": ids, "pixel_values": torch.from_numpy(np.stack(planes))}

    def features(self, model: Any, inputs: Inputs) -> Any:
        return model.see(inputs["pixel_values"]).flatten(0, 1)

    def model(self, folder: Path) -> Any:
        return composed(folder, self.tokenizer(folder).convert_tokens_to_ids("<unk>"), self._drop_last)

    def decoder(self, model: Any) -> Any:
        return model.llm.model


def composed(folder: Path, placeholder: int, drop_last: bool) -> Any:
    """transformers' Qwen2 and SigLIP, and the resampler between them."""
    import torch
    from torch.nn import functional
    from transformers import Qwen2Config, Qwen2ForCausalLM, SiglipVisionConfig, SiglipVisionModel

    tensors = {
        name: torch.from_numpy(tensor) for name, tensor in load_file(folder / "model.safetensors").items()
    }

    def under(prefix: str) -> dict[str, Any]:
        return {name.removeprefix(prefix): tensors[name] for name in tensors if name.startswith(prefix)}

    def norm(value: Any, name: str) -> Any:
        own = under(f"resampler.{name}.")
        return functional.layer_norm(value, (HIDDEN,), own["weight"], own["bias"], 1e-6)

    depth = DEPTH - drop_last
    told = text_config(VOCAB, 3, HIDDEN, 4, 2, 32, "qwen2") | {"tie_word_embeddings": False}
    llm = Qwen2ForCausalLM(Qwen2Config(**told)).eval()
    llm.load_state_dict(under("llm."), strict=True)
    side = EDGE // PATCH
    shrunk = vision_config() | {"image_size": EDGE, "num_hidden_layers": depth, "vision_use_head": False}
    tower = SiglipVisionModel(SiglipVisionConfig(**shrunk)).eval()
    state = {name: each for name, each in under("vpm.").items() if f"layers.{depth}." not in name}
    table = state["embeddings.position_embedding.weight"].reshape(TABLE, TABLE, SIZE)
    borders, places = torch.arange(1 / TABLE, 1.0, 1 / TABLE), torch.arange(0, 1 - 1e-6, 1 / side)
    bucket = torch.bucketize(places, borders, right=True)
    state["embeddings.position_embedding.weight"] = table[bucket[:, None], bucket].reshape(-1, SIZE)
    prefix = "vision_model." if any(name.startswith("vision_model.") for name in tower.state_dict()) else ""
    tower.load_state_dict({prefix + name: each for name, each in state.items()}, strict=True)
    attention = torch.nn.MultiheadAttention(HIDDEN, HIDDEN // 128, batch_first=True).eval()
    attention.load_state_dict(under("resampler.attn."), strict=True)

    class Model(torch.nn.Module):  # type: ignore[misc]  # torch is not typed
        def __init__(self) -> None:
            super().__init__()
            self.llm = llm

        def see(self, pixel_values: Any) -> Any:
            seen = tower(pixel_values).last_hidden_state
            values = norm(seen @ tensors["resampler.kv_proj.weight"].T, "ln_kv")
            keys = values + torch.from_numpy(sines(side))
            queries = norm(tensors["resampler.query"], "ln_q").expand(len(values), -1, -1)
            attended, _ = attention(queries, keys, values)
            return norm(attended, "ln_post") @ tensors["resampler.proj"]

        def forward(self, input_ids: Any, pixel_values: Any = None, **more: Any) -> Any:
            embeds = llm.model.embed_tokens(input_ids)
            if pixel_values is not None:
                embeds[input_ids == placeholder] = self.see(pixel_values).flatten(0, 1)
            return llm(inputs_embeds=embeds, **more)

    return Model()


def sines(side: int) -> Array:
    """(side * side, hidden): of columns, then of rows, each sines and cosines."""
    quarter = HIDDEN // 4
    rows = []
    for row in range(side):
        for column in range(side):
            angles = [np.float32(place) / 10000 ** (np.arange(quarter) / quarter) for place in (column, row)]
            rows.append(np.concatenate([wave(each) for each in angles for wave in (np.sin, np.cos)]))
    return np.stack(rows).astype(np.float32)


def case(max_slices: int, options: ExportOptions, drop_last: bool = False, seed: int = 0) -> FamilyCase:
    entry = {
        "family": "minicpmv",
        "prefixes": ("minicpmv",),
        "marker": MARKER,
        "placeholder": "<unk>",
        "image_size": EDGE,
        "patch_size": PATCH,
        "num_queries": QUERIES,
        "max_slices": max_slices,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "resample": "bicubic",
        "start": "<image>",
        "end": "</image>",
        "slice_start": "<slice>",
        "slice_end": "</slice>",
    }
    pictures = ((50, 40), (31, 27)) if max_slices > 1 else ((50, 40),)
    return FamilyCase(
        entry, TinyMiniCPMV(drop_last), MiniCPMVReference(max_slices, drop_last), options, pictures, seed
    )


CASES = {
    "minicpmv-sliced-u8-two": case(4, ExportOptions()),
    "minicpmv-whole-f32": case(1, ExportOptions(vision_input="f32-nchw"), drop_last=True, seed=36),
    "minicpmv-sliced-patches": case(6, ExportOptions(vision_input="f32-patches")),
}
