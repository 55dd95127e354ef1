"""What was published: the names of the files that repositories had at the commits the catalogue names,
without pictures, programs and scripts. Source: that of the catalogue; of InternVL and SmolVLM only what its
pages on single models list, for the same commits."""

import re
from collections.abc import Iterator

from gateway.hub.plan import Listing, RemoteFile

EMBEDDINGS = "model.embed_tokens.weight.bfloat16.bin"
TOP = "README.md config.json post_config.json"
TOKENIZER = "chat_template.json config.json generation_config.json merges.txt preprocessor_config.json " + (
    "tokenizer.json tokenizer_config.json vocab.json"
)


def package(prefix: str, num_layers: int, *others: str) -> str:
    layers = [f"{prefix}_l{index}_together.axmodel" for index in range(num_layers)]
    post = f"{re.sub('_p[0-9]+$', '', prefix)}_post.axmodel"
    return " ".join([*layers, post, EMBEDDINGS, *others])


def inside(folder: str, names: str) -> str:
    return " ".join(f"{folder}/{name}" for name in names.split())


FILES = {
    "AXERA-TECH/Qwen3-VL-2B-Instruct": [
        inside(
            "Qwen3-VL-2B-Instruct-AX650-c128_p1152",
            package("qwen3_vl_text_p128", 28, "Qwen3-VL-2B-Instruct_vision.axmodel"),
        ),
        inside("qwen3-vl-tokenizer", TOKENIZER),
        TOP,
    ],
    "AXERA-TECH/Qwen3-VL-2B-Instruct-GPTQ-Int4": [
        package("qwen3_vl_text_p128", 28, "Qwen3-VL-2B-Instruct_vision.axmodel"),
        "Qwen3-VL-2B-Instruct_vision_1280x736.axmodel Qwen3-VL-2B-Instruct_vision_640x640.axmodel",
        "Qwen3-VL-2B-Instruct_vision_u8.axmodel bin/axllm qwen3_tokenizer.txt",
        TOP,
    ],
    "AXERA-TECH/Qwen3-VL-2B-Instruct-GPTQ-Int4-C256-P3584-CTX4095": [
        package("qwen3_vl_text_p256", 28, "Qwen3-VL-2B-Instruct_vision.axmodel"),
        "Qwen3-VL-2B-Instruct_vision_640x640.axmodel qwen3_tokenizer.txt",
        TOP,
    ],
    "AXERA-TECH/Qwen3-VL-4B-Instruct": [
        package("qwen3_vl_text_p128", 36, "Qwen3-VL-4B-Instruct_vision.axmodel", "tokenizer.txt"),
        TOP,
    ],
    "AXERA-TECH/Qwen3-VL-4B-Instruct-GPTQ-Int4": [
        package("qwen3_vl_text_p128", 36, "Qwen3-VL-4B-Instruct_vision.axmodel"),
        "Qwen3-VL-4B-Instruct_vision_u8.axmodel qwen3_tokenizer.txt",
        TOP,
    ],
    "AXERA-TECH/Qwen3-VL-8B-Instruct": [
        inside(
            "Qwen3-VL-8B-Instruct-AX650-c128_p1152",
            package("qwen3_vl_text_p128", 36, "Qwen3-VL-8B-Instruct_vision.axmodel"),
        ),
        inside("qwen3-vl-tokenizer", TOKENIZER),
        TOP,
    ],
    "AXERA-TECH/Qwen3-VL-8B-Instruct-GPTQ-Int4": [
        inside(
            "Qwen3-VL-8B-Instruct-AX650-c128_p1152-int4",
            package("qwen3_vl_text_p128", 36, "Qwen3-VL-8B-Instruct_vision.axmodel"),
        ),
        inside("qwen3-vl-tokenizer", TOKENIZER),
        TOP,
    ],
    "AXERA-TECH/Qwen2.5-VL-3B-Instruct": [
        inside(
            "Qwen2.5-VL-3B-Instruct-AX650-chunk_prefill_512",
            package(
                "qwen2_5_vl_p128",
                36,
                "Qwen2.5-VL-3B-Instruct_vision_nchw448.axmodel",
                "Qwen2.5-VL-3B-Instruct_vision_nhwc.axmodel",
            ),
        ),
        inside("qwen2_5-vl-tokenizer", TOKENIZER),
        "README.md config.json qwen2.5_tokenizer.txt",
    ],
    "AXERA-TECH/InternVL3-1B": [
        inside("internvl3_1b_ax650", package("qwen2_p128", 24, "internvl3_1b_vit.axmodel")),
        inside("internvl3_tokenizer", "added_tokens.json config.json generation_config.json merges.txt"),
        inside("internvl3_tokenizer", "tokenizer.json tokenizer_config.json vocab.json"),
        TOP,
    ],
    "AXERA-TECH/InternVL3-2B": [
        inside("internvl3_2b_axmodel", package("qwen2_p128", 28)),
        "vit_axmodel/internvl3_2b_vit_slim.axmodel",
        inside("internvl3_2b_tokenizer", "added_tokens.json config.json generation_config.json merges.txt"),
        inside("internvl3_2b_tokenizer", "tokenizer.json tokenizer_config.json vocab.json"),
        "README.md post_config.json",
    ],
    "AXERA-TECH/InternVL3_5-1B_GPTQ_INT4": [
        inside("InternVL3_5-1B_GPTQ_INT4-AX650/internvl3-5_axmodel", package("qwen3_p128", 28)),
        inside("InternVL3_5-1B_GPTQ_INT4-AX650", "config.json internvl3-5-1b_tokenizer.txt"),
        inside("InternVL3_5-1B_GPTQ_INT4-AX650", "post_config.json"),
        "InternVL3_5-1B_GPTQ_INT4-AX650/vit-models/internvl_vit_model_1x448x448x3.axmodel",
    ],
    "AXERA-TECH/SmolVLM-256M-Instruct": [
        inside(
            "smolvlm-256m-ax650",
            package("llama_p128", 30, "SmolVLM-256M-Instruct_vision_nhwc.axmodel"),
        ),
        inside("smolvlm_tokenizer", TOKENIZER),
        TOP,
    ],
    "AXERA-TECH/Qwen3-0.6B-GPTQ-Int4": [
        inside("Qwen3-0.6B-GPTQ-Int4-AX650-C256-P1024-CTX2047", package("qwen3_p256", 28)),
        package("qwen3_p128", 28, "qwen3_tokenizer.txt"),
        TOP,
    ],
    "AXERA-TECH/Qwen3-1.7B": [package("qwen3_p128", 28, "qwen3_tokenizer.txt"), TOP],
    "AXERA-TECH/Qwen3-1.7B-GPTQ-Int4": [package("qwen3_p128", 28, "qwen3_tokenizer.txt"), TOP],
    "AXERA-TECH/Qwen3-4B": [package("qwen3_p128", 36, "qwen3_tokenizer.txt"), TOP],
    "AXERA-TECH/Qwen3-4B-GPTQ-Int4": [package("qwen3_p128", 36, "qwen3_tokenizer.txt"), TOP],
    "AXERA-TECH/Qwen3-4B-Instruct-2507-GPTQ-Int4": [
        inside("Qwen3-4B-Instruct-2507-GPTQ-Int4-context-4k-prefill-3584", package("qwen3_p256", 36)),
        inside("qwen2.5_tokenizer", "merges.txt tokenizer.json tokenizer_config.json vocab.json"),
        inside("qwen3_tokenizer", "config.json generation_config.json merges.txt tokenizer.json"),
        inside("qwen3_tokenizer", "tokenizer_config.json vocab.json"),
        TOP,
    ],
    "AXERA-TECH/Qwen3.5-0.8B-AX650-C128-P1152-CTX2047": [
        package("qwen3_5_text_p128", 24, "qwen3_5_vision.axmodel", "qwen3_5_tokenizer.txt"),
        TOP,
    ],
    "AXERA-TECH/Qwen3-VL-8B-Instruct-GPTQ-Int4-AX650-C128-P1152-CTX2047-TP4": [
        inside(
            "Qwen3-VL-8B-Instruct-GPTQ-Int4-AX650-C128-P1152-CTX2047-TP4",
            package("qwen3_vl_text_p128", 36)
            .replace(".axmodel", ".tar")
            .replace(EMBEDDINGS, f"{EMBEDDINGS} Qwen3-VL-8B-Instruct_vision.axmodel qwen3_tokenizer.txt"),
        ),
        "post_config.json",
    ],
    "AXERA-TECH/Qwen3-VL-2B-Instruct-GPTQ-Int4-AX630C-P320-CTX448": [
        package("qwen3_vl_text_p64", 28, "Qwen3-VL-2B-Instruct_vision_u8_384_ax630c.axmodel"),
        inside("qwen3-vl-tokenizer", TOKENIZER),
        TOP,
    ],
    "AXERA-TECH/Qwen3-0.6B-GPTQ-Int4-AX620E": [
        inside("Qwen3-0.6B-GPTQ-Int4-AX620E-C256-P1024-CTX2047", package("qwen3_p256", 28)),
        "README.md",
    ],
}


def listing(repository: str, *names: str) -> Listing:
    """Of files with a size of a million bytes; those that were published, unless told."""
    paths = " ".join(names or FILES[repository]).split()
    return Listing(repository, "c0ffee", tuple(_files(repository, paths)))


def _files(repository: str, paths: list[str]) -> Iterator[RemoteFile]:
    for path in paths:
        yield RemoteFile(repository, "c0ffee", path, 10**6, "", None)
