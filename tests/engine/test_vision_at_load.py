"""What the worker does about a vision graph before it is ready."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from backends.patch_embedding import FILE
from gateway.chat.tokenizer import Tokenizer
from gateway.engine.client import EngineClient
from gateway.engine.prompt import Prompt, Request, SamplingParams
from gateway.errors import EngineFailure
from gateway.vision.registry import ENTRIES, Registry
from tests.engine.test_client import HERE, config
from tests.engine.test_colour_probe import as_trained, blue_first, package
from tests.families import path, smolvlm
from tests.families.conversations import PICTURE, about, user
from tests.families.expected import golden
from tests.packages import new_folder
from tests.vision.pictures import pattern

DEMO = "axgate-demo-smolvlm-96"


def entries(name: str, entry: Mapping[str, Any]) -> Path:
    """A file with one entry."""
    file = new_folder() / "entries.json"
    file.write_text(json.dumps({name: dict(entry)}))
    return file


async def answer(folder: Path, models: Path, ask: Any) -> list[int]:
    """Of a worker with that package; `ask` makes the prompt out of the encoder."""
    client = EngineClient(replace(config(folder), vision_models=models, emulated_bytes=256 << 20))
    try:
        await client.load(HERE)
        info = client.info
        assert info is not None
        assert info.vision_input is not None
        encoder = Registry.load(models).find(info.prefix, info.vision_input)
        request = Request("1", ask(encoder), SamplingParams(12, temperature=0))
        return [output.token_id async for output in client.generate(request) if output.token_id is not None]
    finally:
        await client.close()


def said(folder: Path, models: Path, ask: Any) -> list[int]:
    return asyncio.run(answer(folder, models, ask))


@pytest.mark.parametrize("change", [as_trained, blue_first])
def test_colours_are_named_right_whichever_comes_first(change: Any) -> None:
    folder = package(change)
    entry = json.loads(ENTRIES.read_text())[DEMO] | {"channels": "probe"}

    def ask(encoder: Any) -> Prompt:
        question = user(PICTURE, "What color is the background?")
        return path.prompt(encoder, folder / "tokenizer", [question], [Image.new("RGB", (96, 96), "blue")])

    words = Tokenizer.load(folder / "tokenizer")
    assert "blue" in words.decode(said(folder, entries(DEMO, entry), ask))


def test_a_package_of_patch_embeddings_is_served_with_its_weights_and_not_without() -> None:
    name = "smolvlm-patches"
    case, files = smolvlm.CASES[name], path.package(name, 16)
    models = entries(name, json.loads(json.dumps(case.entry)))

    def ask(encoder: Any) -> Prompt:
        pictures = [pattern(*size) for size in case.pictures]
        return path.prompt(encoder, files.tokenizer, about(len(pictures)), pictures)

    assert said(files.folder, models, ask) == golden(name).tokens[:12]
    weights = files.folder / FILE
    kept = weights.rename(files.folder / "kept")
    try:
        with pytest.raises(EngineFailure, match="smolvlm_patches CHECKPOINT PACKAGE"):
            said(files.folder, models, ask)
    finally:
        kept.rename(weights)
