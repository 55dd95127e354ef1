"""Writing a model package: the folder of files that a card, or its emulator, loads."""

import json
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import ml_dtypes

from backends.export import (
    deepseek_ocr,
    fastvlm,
    internvl,
    janus,
    minicpmv,
    mobilevlm,
    qwen2_vl,
    qwen3_vl,
    smolvlm,
    text,
)
from backends.export.checkpoint import Checkpoint
from backends.export.configuration import Section, read_json_if_there
from backends.export.decoder import layer_groups
from backends.export.errors import ExportError
from backends.export.layer import build_head, build_layer
from backends.export.model import Model
from backends.export.options import ExportOptions

FAMILIES = dict.fromkeys(text.NAMES, text.read_model) | {
    "internvl": internvl.read_model,
    "internvl_chat": internvl.read_original,
    "llava_qwen2": fastvlm.read_original,
    "fast_vlm": fastvlm.read_model,
    "minicpmv": minicpmv.read_model,
    deepseek_ocr.MODEL_TYPE: deepseek_ocr.read_model,
    "janus": janus.read_model,
    "mobilevlm": mobilevlm.read_model,
    "qwen2_vl": qwen2_vl.read_qwen2_vl,
    "qwen2_5_vl": qwen2_vl.read_qwen2_5_vl,
    "qwen3_vl": qwen3_vl.read_model,
    **dict.fromkeys(smolvlm.MODEL_TYPES, smolvlm.read_model),
}
EMBEDDING = "model.embed_tokens.weight.bfloat16.bin"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "chat_template.json",  # as published Qwen2-VL checkpoints have it
    "generation_config.json",
    "preprocessor_config.json",
)

Progress = Callable[[str, int, int], None]
"""Called for each file written: its name, how many are written, how many there will be."""

Files = dict[str, Callable[[Path], object]]
"""What writes each file, by the name in the package."""


def export_package(checkpoint: Path, out: Path, options: ExportOptions, progress: Progress) -> None:
    """Turn a Hugging Face checkpoint folder into a model package at `out`, a folder that must not exist yet.

    `out` appears whole or not at all. Raises ExportError for a checkpoint that cannot be exported.
    """
    source = Checkpoint(checkpoint)
    package = PackageFiles(source, read_model(source, options), options, out.name)
    write_folder(package.graphs() | package.around_the_graphs(), out, progress)


def read_model(source: Checkpoint, options: ExportOptions) -> Model:
    """What the checkpoint's family makes of it. Raises ExportError for one that cannot be exported."""
    options.check()
    model_type = source.config.text("model_type")
    source.config.check(model_type in FAMILIES, "model_type", f"one of {', '.join(FAMILIES)}")
    return FAMILIES[model_type](source, options)


def write_folder(files: Files, out: Path, progress: Progress) -> None:
    """Write the files into a new folder; `out` appears whole or not at all."""
    with _whole_or_nothing(out) as folder:
        for num_written, (name, write) in enumerate(files.items(), start=1):
            (folder / name).parent.mkdir(exist_ok=True)
            write(folder / name)
            progress(name, num_written, len(files))


@contextmanager
def _whole_or_nothing(out: Path) -> Iterator[Path]:
    """A new folder beside `out` that becomes `out` when the block ends well, and else disappears."""
    if out.exists():
        raise ExportError(f"{out}: expected a folder that does not exist yet")
    folder = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    folder.mkdir(parents=True)
    try:
        yield folder
        folder.rename(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class PackageFiles:
    """The files of one package. `name` is the model's name to those who read config.json."""

    def __init__(self, source: Checkpoint, model: Model, options: ExportOptions, name: str) -> None:
        self._source = source
        self._model = model
        self._options = options
        self._name = name
        self._layer_files = f"{model.file_prefix}_p{options.prefill_len}_l%d_together.axmodel"
        self._head_file = f"{model.file_prefix}_post.axmodel"
        self.vision_file = f"{name}_vision.axmodel"

    def graphs(self) -> Files:
        """The layers, the head and the vision graph."""
        decoder, options = self._model.decoder, self._options
        groups = layer_groups(decoder, options.kv_cache_len, options.prefill_len, options.histories)

        def write_layer(index: int, file: Path) -> None:
            build_layer(decoder, self._source, index, options.weights).save(file, groups)

        files: Files = {self._layer_files % i: partial(write_layer, i) for i in range(decoder.num_layers)}
        files[self._head_file] = lambda file: build_head(decoder, self._source, options.weights).save(file)
        if (vision := self._model.vision) is not None:
            files[self.vision_file] = lambda file: vision.build().save(file)
        return files

    def around_the_graphs(self) -> Files:
        """All the rest: the embedding table, what else the host needs, the settings and the tokenizer."""
        vision = self._model.vision
        beside = dict(vision.files) if vision is not None else {}
        return self._embedding() | beside | self._settings() | self._tokenizer()

    def _embedding(self) -> Files:
        def write(file: Path) -> None:
            decoder = self._model.decoder
            table = self._source.tensor(decoder.embedding, (decoder.vocab_size, decoder.hidden_size))
            table.astype(ml_dtypes.bfloat16).tofile(file)

        return {EMBEDDING: write}

    def _settings(self) -> Files:
        """config.json and post_config.json in the schema of the vendor's runtime."""
        decoder, vision = self._model.decoder, self._model.vision
        config = {
            "model_name": self._name,
            "tokenizer_type": self._model.name,
            "url_tokenizer_model": "tokenizer",
            "template_filename_axmodel": self._layer_files,
            "axmodel_num": decoder.num_layers,
            "filename_post_axmodel": self._head_file,
            "filename_tokens_embed": EMBEDDING,
            "tokens_embed_num": decoder.vocab_size,
            "tokens_embed_size": decoder.hidden_size,
            "post_config_path": "post_config.json",
        }
        if vision is not None:
            config |= {"filename_image_encoder_axmodel": self.vision_file, **vision.settings}
        generation = read_json_if_there(self._source.folder / "generation_config.json")
        return {
            "config.json": partial(_write_json, config),
            "post_config.json": partial(_write_json, sampling_defaults(generation)),
        }

    def _tokenizer(self) -> Files:
        present = (self._source.folder / name for name in TOKENIZER_FILES)
        return {f"tokenizer/{file.name}": partial(shutil.copyfile, file) for file in present if file.exists()}


def sampling_defaults(generation: Section) -> dict[str, float | bool]:
    """The vendor's post_config.json from a generation_config.json; what that leaves out is off."""
    sampled = generation.flag("do_sample", False)
    temperature = generation.number("temperature", 1.0)
    penalty = generation.number("repetition_penalty", 1.0)
    top_p = generation.number("top_p", 1.0)
    top_k = int(generation.number("top_k", 0))
    return {
        "enable_temperature": sampled,
        "temperature": temperature,
        "enable_repetition_penalty": penalty != 1.0,
        "repetition_penalty": penalty,
        "penalty_window": 30,  # as in the published Qwen3-VL package; generation_config.json knows no window
        "enable_top_p_sampling": sampled and top_p < 1.0,
        "top_p": top_p,
        "enable_top_k_sampling": sampled and top_k > 0,
        "top_k": top_k,
    }


def _write_json(values: dict[str, Any], file: Path) -> None:
    file.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
