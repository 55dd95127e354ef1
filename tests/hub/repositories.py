"""Tiny packages in the layouts that the vendor's repositories have."""

from functools import cache

from tests.hub.server import Repository
from tests.packages import vision_package

NAME = "qwen3-vl-2b"
OLD, FLAT, ORIGINAL = (
    "AXERA-TECH/Qwen3-VL-2B-Instruct",
    "AXERA-TECH/Qwen3-VL-2B-Instruct-GPTQ-Int4",
    "Qwen/Qwen3-VL-2B-Instruct",
)
FOLDER = "Qwen3-VL-2B-Instruct-AX650-c128_p1152"
VISION = "Qwen3-VL-2B-Instruct_vision.axmodel"
EMBEDDINGS = "model.embed_tokens.weight.bfloat16.bin"
UNNEEDED = {"README.md": b"# A model", "main_axcl_x86": b"ELF", "images/demo.jpg": b"JFIF", "run.sh": b"#!"}


def layers(prefix: str = "") -> set[str]:
    return {f"{prefix}qwen3_vl_text_p8_l{index}_together.axmodel" for index in range(4)}


@cache
def graphs() -> dict[str, bytes]:
    """The package without its tokenizer, by file name."""
    package = vision_package()
    assert package.vision is not None
    files = (*package.layers, package.post, package.embeddings, package.folder / "config.json")
    return {file.name: file.read_bytes() for file in files} | {VISION: package.vision.read_bytes()}


@cache
def tokenizer() -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in vision_package().tokenizer.iterdir()}


def old(folder: str = FOLDER) -> dict[str, bytes]:
    """One folder with the package, one with the tokenizer, as in 2025."""
    files = {f"{folder}/{name}": content for name, content in graphs().items() if name != "config.json"}
    files |= {f"qwen3-vl-tokenizer/{name}": content for name, content in tokenizer().items()}
    return files | UNNEEDED | {"config.json": b"", "post_config.json": b"{}"}


def flat() -> dict[str, bytes]:
    """All at the top, several vision graphs, no tokenizer, as in 2026."""
    others = [VISION.replace("vision", f"vision_{kind}") for kind in ("640x640", "u8")]
    return graphs() | UNNEEDED | {"qwen3_tokenizer.txt": b"token"} | dict.fromkeys(others, b"another")


def original() -> dict[str, bytes]:
    """The repository of the model before it was compiled."""
    return tokenizer() | {"README.md": b"# A model", "model.safetensors": b"weights", "config.json": b"{}"}


def repositories() -> dict[str, Repository]:
    return {OLD: Repository(old()), FLAT: Repository(flat()), ORIGINAL: Repository(original())}
