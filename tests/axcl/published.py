"""Packages as they are published, without their weights: real names, groups, shapes and types, on graphs that
compute nothing. Source: what the vendor's launch scripts, build scripts and console logs tell of each model;
where they say nothing of a number, a `?` stands behind it here.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onnx import TensorProto

from backends.export.graph import GraphBuilder, Group, GroupTensor, group_tensor
from tests.packages import DEMO_CHECKPOINT

Shape = tuple[int, ...]
TYPES = {"float32": TensorProto.FLOAT, "bfloat16": TensorProto.BFLOAT16, "int32": TensorProto.INT32}


def rows(step: int, last: int) -> Shape:
    return tuple(range(0, last + 1, step))


@dataclass(frozen=True)
class Published:
    """decode: cache rows of each decode group; histories: cache rows of each prefill group; likeliest: how
    many tokens the head tells of, 0 where of all; recurrent: what its first layer keeps is a state, not rows;
    per_layer: values of its own that each layer takes for each token."""

    files: str  # what layer files begin with
    num_layers: int
    hidden: int
    kv_dim: int
    decode: Shape
    histories: Shape
    chunk: int
    index_rows: int
    vocab: int
    vision: str = ""
    pixels: tuple[str, str, Shape] = ("", "", ())
    features: tuple[tuple[str, str, Shape], ...] = ()
    likeliest: int = 0
    recurrent: bool = False
    per_layer: int = 0

    @property
    def prefix(self) -> str:
        return self.files.rsplit("_p", 1)[0] if self.chunk > 1 else self.files


def qwen3_vl(num_layers: int, hidden: int, name: str) -> Published:
    names = ("hidden_states_out", "deepstack_feature_0", "deepstack_feature_1", "deepstack_feature_2")
    return Published(
        *("qwen3_vl_text_p128", num_layers, hidden, 1024, (2047,), rows(128, 1152), 128, 3, 151936),
        vision=f"{name}_vision.axmodel",
        pixels=("hidden_states", "uint8", (1, 576, 512, 3)),
        features=tuple((each, "float32", (144, hidden)) for each in names),
    )


def qwen25_vl(files: str, histories: Shape, chunk: int, patches: int, name: str) -> Published:
    return Published(
        *(files, 36, 2048, 256, (1023,), histories, chunk, 3, 151936, name),
        ("hidden_states", "uint8", (1, patches, 392, 3)),
        (("hidden_states_out", "float32", (patches // 4, 2048)),),
    )


def internvl(
    files: str, num_layers: int, hidden: int, kv_dim: int, kv: int, histories: Shape, vocab: int, vision: str
) -> Published:
    chunk = int(files.rsplit("_p", 1)[1])
    nhwc = "nhwc" in vision
    shape = (1, 448, 448, 3) if nhwc else (1, 3, 448, 448)
    return Published(
        *(files, num_layers, hidden, kv_dim, (kv,), histories, chunk, 1, vocab, vision),
        ("image", "uint8" if nhwc else "float32", shape),
        (("output", "float32", (1, 256, hidden)),),
    )


def smolvlm(
    files: str, size: tuple[int, int, int], kv: int, histories: Shape, chunk: int, vision: str
) -> Published:
    return Published(
        *(files, *size, (kv,), histories, chunk, 1, 49280, vision),
        ("pixel_values", "uint8", (1, 512, 512, 3)),
        (("output", "float32", (1, 64, size[1])),),
    )


def text(
    files: str, size: tuple[int, int, int], decode: Shape, histories: Shape, chunk: int, vocab: int
) -> Published:
    return Published(files, *size, decode, histories, chunk, 1, vocab)


INTERNVL35 = "internvl_vit_model_1x3x448x448.axmodel"
PUBLISHED = {
    "Qwen3-VL-2B": qwen3_vl(28, 2048, "Qwen3-VL-2B-Instruct"),
    "Qwen3-VL-4B": qwen3_vl(36, 2560, "Qwen3-VL-4B-Instruct"),
    "Qwen3-VL-8B": qwen3_vl(36, 4096, "Qwen3-VL-8B-Instruct"),
    "Qwen2.5-VL-3B": qwen25_vl(
        "qwen2_5_vl_p128", rows(128, 512), 128, 1024, "Qwen2.5-VL-3B-Instruct_vision_nchw448.axmodel"
    ),
    "Qwen2.5-VL-3B p320": qwen25_vl(
        "qwen2_5_vl_p320", (0,), 320, 1024, "Qwen2.5-VL-3B-Instruct_vision_nchw448.axmodel"
    ),
    "Qwen2.5-VL-3B p512": qwen25_vl(
        "qwen2_5_vl_p512", (0,), 512, 484, "Qwen2.5-VL-3B-Instruct_vision_308.axmodel"
    ),
    "InternVL3-1B": internvl(
        "qwen2_p128",
        24,
        896,
        128,
        2047,
        rows(128, 1024),
        151674,
        "internvl3_1b_vit.axmodel",  # 2047? 1024?
    ),
    "InternVL3-2B": internvl(
        "qwen2_p128", 28, 1536, 256, 2559, rows(128, 1024), 151674, "internvl3_2b_vit_slim.axmodel"
    ),
    "InternVL3-2B video": internvl(
        "qwen2_p128", 28, 1536, 256, 2559, rows(128, 2048), 151674, "internvl3_2b_vit_slim.axmodel"
    ),
    "InternVL3.5-1B": internvl("qwen3_p128", 28, 1024, 1024, 2047, rows(128, 1024), 151936, INTERNVL35),
    "InternVL3.5-2B": internvl("qwen3_p128", 28, 2048, 1024, 2047, rows(128, 1024), 151936, INTERNVL35),
    "InternVL2.5-1B": internvl(
        "qwen2_p320", 24, 896, 128, 1023, (0,), 151674, "vit_intern_2_5_sim_space2depth_nhwc.axmodel"
    ),
    "SmolVLM-256M": smolvlm(
        "llama_p320", (30, 576, 192), 1023, (0,), 320, "SmolVLM-256M-Instruct_vision_nhwc.axmodel"
    ),
    "SmolVLM-500M": smolvlm(
        "llama_p128",
        (32, 960, 320),
        1023,
        rows(128, 512),
        128,
        "SmolVLM-500M-Instruct_vision.axmodel",  # 512?
    ),
    "SmolVLM2-500M": smolvlm(
        "llama_p128", (32, 960, 320), 2047, rows(128, 1024), 128, "SmolVLM2-500M_vision.axmodel"
    ),
    "SmolVLM2-500M-Video": Published(
        *("llama_p1024", 32, 960, 320, (2559,), rows(128, 1024), 128, 1, 49280, "vision_model.axmodel"),
        ("input", "float32", (17, 1024, 768)),
        (("output", "float32", (17, 64, 960)),),
    ),
    "Janus-Pro-1B": Published(
        *("llama_p640", 24, 2048, 2048, (1023,), (0,), 640, 1, 102400, "janus_warp_vit.axmodel"),
        ("image", "float32", (1, 3, 384, 384)),
        (("output", "float32", (1, 576, 2048)),),
    ),
    "LocateAnything-3B": Published(
        *("qwen2_p128", 36, 2048, 256, (2047,), rows(128, 1152), 128, 1, 152681),  # 256? 2047? 1152?
        *("image_encoder_mlp.axmodel", ("image", "float32", (1, 3, 560, 560))),
        (("output", "float32", (1, 400, 2048)),),
    ),
    "Qwen2.5-1.5B": text("qwen2", (28, 1536, 256), (1024,), (), 1, 151936),
    "Qwen2.5-1.5B ctx": text("qwen2_p128", (28, 1536, 256), (2559,), rows(512, 2048), 128, 151936),
    "Qwen3-4B": text("qwen3_p128", (36, 2560, 1024), (2559,), (0, 256, *rows(512, 2048)[1:]), 128, 151936),
    "SmolLM2-360M": text("llama_p128", (32, 960, 320), (2047,), rows(128, 1024), 128, 49152),
    "SmolVLM-256M p128": smolvlm(
        *("llama_p128", (30, 576, 192), 1023, rows(128, 512), 128),  # 512?
        "SmolVLM-256M-Instruct_vision_nhwc.axmodel",
    ),
    "Qwen3-0.6B": text("qwen3_p128", (28, 1024, 1024), (2559,), rows(512, 2048), 128, 151936),
    "Qwen3-1.7B": text("qwen3_p128", (28, 2048, 1024), (2559,), rows(512, 2048), 128, 151936),
    "Qwen3-1.7B with --post_topk": replace(
        text("qwen3_p128", (28, 2048, 1024), (2559,), rows(512, 2048), 128, 151936),
        likeliest=64,  # 64?
    ),
    "16k in four": text(  # MiniCPM5-1B-C256-P12K-CTX16K: 24? 1536? 256? 73448?
        "minicpm_p256", (24, 1536, 256), (2047, 4095, 8191, 16383), rows(4096, 12288), 256, 73448
    ),
}

LINEAR = "keeps a recurrent state (linear attention)"
HYBRID = (0, 128, 256, 384, 512, 768, 1024, 1152)
REFUSED: dict[str, tuple[Published, str]] = {
    "Qwen3.5-0.8B": (  # 24? 1024? 512?
        replace(text("qwen_p128", (24, 1024, 512), (2047,), HYBRID, 128, 248320), recurrent=True),
        LINEAR,
    ),
    "MiniCPM-V-4.6": (  # 24? 1024? 512?
        replace(text("qwen_p128", (24, 1024, 512), (2047,), rows(128, 1152), 128, 248320), recurrent=True),
        LINEAR,
    ),
    "Gemma-4-E2B": (  # 1536? 256?
        replace(text("gemma_p128", (35, 1536, 256), (2047,), rows(128, 1152), 128, 262144), per_layer=256),
        "takes an input of its own for each token (per_layer_input)",
    ),
}
"""By their shapes, whatever they are called: why each cannot be driven."""


def write(folder: Path, model: Published) -> Path:
    """The folder of a published model, which is made; its config.json is empty, as most are."""
    folder.mkdir()
    save(folder / _layer_name(model, 0), groups(model))
    for index in range(1, model.num_layers):
        os.link(folder / _layer_name(model, 0), folder / _layer_name(model, index))
    post = {
        "inputs": [group_tensor("input", "bfloat16", [1, 1, model.hidden])],
        "outputs": [group_tensor("output", "bfloat16", [1, 1, model.vocab])],
    }
    if model.likeliest:
        shape = [1, 1, model.likeliest]
        post["outputs"] = [group_tensor("indices", "int32", shape), group_tensor("probs", "float32", shape)]
    save(folder / f"{model.prefix}_post.axmodel", [post])
    if model.vision:
        vision = {
            "inputs": [group_tensor(*model.pixels)],
            "outputs": [group_tensor(*each) for each in model.features],
        }
        save(folder / model.vision, [vision])
    with (folder / "model.embed_tokens.weight.bfloat16.bin").open("wb") as table:
        table.truncate(2 * model.vocab * model.hidden)  # zeros that take no room
    (folder / "config.json").touch()
    (folder / "tokenizer").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(DEMO_CHECKPOINT / name, folder / "tokenizer")
    return folder


def groups(model: Published) -> list[Group]:
    """Decode groups have one index row, also of models with three."""
    decode = [_group(model, history, 1, 1) for history in model.decode]
    return decode + [_group(model, history, model.chunk, model.index_rows) for history in model.histories]


def save(file: Path, shapes: Sequence[Group]) -> None:
    """A graph that computes nothing, in these groups."""
    graph = GraphBuilder(file.stem)
    for each in shapes[0]["inputs"]:
        graph.input(each["name"], each["dtype"], _any(each))
    first = graph.float32(shapes[0]["inputs"][0]["name"])
    for each in shapes[0]["outputs"]:
        flat = graph.reshape(first, [-1] + [1] * (len(each["shape"]) - 1), f"{each['name']}.flat")
        graph.node("Cast", flat, name=each["name"], to=TYPES[each["dtype"]])
        graph.output(each["name"], each["dtype"], _any(each))
    graph.save(file, shapes)


def _any(tensor: GroupTensor) -> list[str]:
    return [f"{tensor['name']}.{axis}" for axis in range(len(tensor["shape"]))]


def _layer_name(model: Published, index: int) -> str:
    return f"{model.files}_l{index}{'_together' if model.chunk > 1 else ''}.axmodel"


def _group(model: Published, history: int, chunk: int, index_rows: int) -> Group:
    cache = [1, history, model.kv_dim] if history else [1, 1, model.hidden]
    new = cache if model.recurrent and history else [1, chunk, model.kv_dim]
    own = (
        [group_tensor("per_layer_input", "bfloat16", [1, chunk, model.per_layer])] if model.per_layer else []
    )
    return {
        "inputs": [
            group_tensor("K_cache", "bfloat16", cache),
            group_tensor("V_cache", "bfloat16", cache),
            group_tensor("indices", "uint32", [index_rows, chunk]),
            group_tensor("input", "bfloat16", [1, chunk, model.hidden]),
            group_tensor("mask", "bfloat16", [1, chunk, history + chunk]),
            *own,
        ],
        "outputs": [
            group_tensor("K_cache_out", "bfloat16", new),
            group_tensor("V_cache_out", "bfloat16", new),
            group_tensor("output", "bfloat16", [1, chunk, model.hidden]),
        ],
    }
