import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from backends.axcl.package import open_package
from backends.base import Array, Graph, PackageError
from backends.emulator import Emulator
from backends.export import ExportOptions, export_package
from backends.export.options import VisionInput
from gateway.engine.colour_probe import settle_channels
from gateway.vision.registry import Entry, Registry
from gateway.vision.smolvlm import SmolVLM
from tests.packages import DEMO_CHECKPOINT, new_folder, no_progress, opened

CHECKPOINT = DEMO_CHECKPOINT.parent / "smolvlm"
PATCHES = "model.vision_model.embeddings.patch_embedding.weight"
CONNECTOR = "model.connector.modality_projection.proj.weight"


def as_trained(weights: dict[str, Array]) -> None:
    pass


def blue_first(weights: dict[str, Array]) -> None:
    weights[PATCHES] = np.ascontiguousarray(weights[PATCHES][:, ::-1])


def blind(weights: dict[str, Array]) -> None:
    weights[CONNECTOR] = np.zeros_like(weights[CONNECTOR])


def broken(weights: dict[str, Array]) -> None:
    weights[CONNECTOR] = np.full_like(weights[CONNECTOR], np.nan)


@cache
def package(change: Callable[[dict[str, Array]], None], vision_input: VisionInput = "u8-nhwc") -> Path:
    """That of the demo model with changed weights."""
    checkpoint = new_folder() / "checkpoint"
    shutil.copytree(CHECKPOINT, checkpoint)
    weights = load_file(checkpoint / "model.safetensors")
    change(weights)
    save_file(weights, checkpoint / "model.safetensors")
    options = ExportOptions(255, 128, (128,), vision_input=vision_input)
    export_package(checkpoint, checkpoint.with_name("package"), options, no_progress)
    return checkpoint.with_name("package")


@dataclass
class Settled:
    encoder: SmolVLM[Any]
    graph: Graph

    def features(self) -> Array:
        """Of a picture of red and green."""
        picture = Image.new("RGB", (96, 96), "red")
        picture.paste((0, 255, 0), (40, 20, 90, 70))
        (pixels,) = self.encoder.prepare(picture).pixels
        return self.encoder.encode(self.graph, pixels).embeds


@contextmanager
def settled(folder: Path, channels: Literal["rgb", "bgr", "probe"], **changes: Any) -> Iterator[Settled]:
    """The encoder of a package, by the demo's entry with another order of channels."""
    files = open_package(folder)
    with opened(Emulator()) as backend:
        assert files.vision is not None
        graph, decoder = backend.graph(files.vision), backend.decoder(files)
        (entry,) = [each for each in Registry.load().entries if each.name == "axgate-demo-smolvlm-96"]
        spec = entry.spec.model_copy(update={"channels": channels, **changes})
        encoder = Entry("tiny", spec).encoder(graph.inputs[0])
        assert isinstance(encoder, SmolVLM)
        before = backend.free_bytes
        settle_channels(encoder, graph, decoder, files.tokenizer)
        assert backend.free_bytes == before
        yield Settled(encoder, graph)


@pytest.mark.parametrize("vision_input", ["u8-nhwc", "f32-nchw"])
def test_a_graph_that_takes_blue_first_sees_what_the_other_one_sees(vision_input: VisionInput) -> None:
    with (
        settled(package(as_trained, vision_input), "probe") as red,
        settled(package(blue_first, vision_input), "probe") as blue,
    ):
        assert (red.encoder.blue_first, blue.encoder.blue_first) == (False, True)
        np.testing.assert_allclose(red.features(), blue.features(), atol=1e-4)


@pytest.mark.parametrize("change", [as_trained, blue_first])
@pytest.mark.parametrize(("channels", "first"), [("rgb", False), ("bgr", True)])
def test_an_entry_that_says_the_order_is_believed(
    channels: Literal["rgb", "bgr"], first: bool, change: Callable[[dict[str, Array]], None]
) -> None:
    with settled(package(change), channels) as found:
        assert found.encoder.blue_first == first


@pytest.mark.parametrize(
    ("change", "question", "told"),
    [
        (blind, None, "undecided (lead +0.0"),
        (broken, None, "the model did not answer: The vision graph gave values that are not finite."),
        (as_trained, "<image>" + "word " * 300, "the model did not answer: "),
    ],
)
def test_without_an_answer_red_comes_first_and_the_log_says_so(
    change: Callable[[dict[str, Array]], None],
    question: str | None,
    told: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    changes = {} if question is None else {"question": question}
    with settled(package(change), "probe", **changes) as found:
        assert not found.encoder.blue_first
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert any(told in each for each in warnings)
    assert "set 'channels' of the entry 'tiny' to 'bgr'" in warnings[-1]


def test_a_broken_tokenizer_is_told() -> None:
    folder = new_folder() / "package"
    shutil.copytree(package(as_trained), folder)
    (folder / "tokenizer" / "tokenizer.json").write_text("{}")
    told = "tokenizer.json: expected a Hugging Face tokenizer: "
    with pytest.raises(PackageError, match=told), settled(folder, "probe"):
        pass


def test_a_tokenizer_without_the_placeholder_is_told() -> None:
    with pytest.raises(PackageError) as error, settled(package(as_trained), "probe", placeholder="<nothing>"):
        pass
    assert str(error.value) == "The tokenizer has no token <nothing>, the images' own."
