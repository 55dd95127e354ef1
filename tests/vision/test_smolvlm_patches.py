from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from backends.base import Array, PackageError, TensorSpec
from backends.patch_embedding import FILE, PatchEmbedding
from gateway.vision.layout import Tile
from gateway.vision.registry import Registry
from gateway.vision.smolvlm_patches import SmolVLMPatches
from gateway.vision.video import Frame, Video
from tests.vision.entries import encoder as entry_encoder
from tests.vision.graphs import StandIn
from tests.vision.pictures import pattern

NUM_TILES, SIDE, SIZE, PATCH = 17, 32, 768, 16
PUBLISHED = TensorSpec("input", "float32", (NUM_TILES, SIDE**2, SIZE))
TOKENS, HIDDEN = 64, 8


def encoder() -> SmolVLMPatches:
    found = entry_encoder("smolvlm2-patches")
    assert isinstance(found, SmolVLMPatches)
    return found


def write(package: Path, weight: Array, offset: Array) -> Path:
    (package / FILE).parent.mkdir()
    PatchEmbedding(weight, offset).save(package / FILE)
    return package


def random(*shape: int) -> Array:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def answer() -> Array:
    """(17, 64, 8), another number for each row."""
    numbers = np.arange(NUM_TILES * TOKENS, dtype=np.float32).reshape(NUM_TILES, TOKENS, 1)
    return np.repeat(numbers, HIDDEN, axis=2)


def test_the_published_package_finds_its_entry() -> None:
    assert Registry.load().find("llama", PUBLISHED).name == "smolvlm2-patches"


def test_all_tiles_of_a_picture_are_one_run() -> None:
    visual = encoder().prepare(pattern(60, 40))
    assert visual.layout.text.count("<image>") == 13
    assert visual.layout.tiles == tuple(Tile((8, 8), first=64 * place) for place in range(13))
    assert {id(pixels) for pixels in visual.pixels} == {id(visual.pixels[0])}
    assert visual.pixels[0].data.shape == (13, 512, 512, 3)


def test_the_tiles_are_those_of_the_graphs_of_pixels() -> None:
    one_by_one = entry_encoder("smolvlm-512-tiled").prepare(pattern(60, 40)).pixels
    together = encoder().prepare(pattern(60, 40)).pixels[0]
    np.testing.assert_array_equal(together.data, np.concatenate([pixels.data for pixels in one_by_one]))


def test_a_long_video_takes_several_runs() -> None:
    frames = tuple(Frame(pattern(20 + place, 20), float(place)) for place in range(20))
    visual = encoder().prepare_video(Video(frames, 20.0))
    assert [tile.first for tile in visual.layout.tiles] == [64 * (place % 17) for place in range(20)]
    runs = [visual.pixels[0], visual.pixels[17]]
    assert [pixels.data.shape[0] for pixels in runs] == [17, 3]
    assert [id(pixels) for pixels in visual.pixels] == [id(runs[0])] * 17 + [id(runs[1])] * 3


def test_the_graph_is_fed_embeddings_and_rows_of_missing_tiles_are_left_out(tmp_path: Path) -> None:
    seen = encoder()
    weight, offset = random(3 * PATCH**2, SIZE), random(SIDE**2, SIZE)
    seen.load(write(tmp_path, weight, offset))
    graph = StandIn(PUBLISHED, output=answer())
    seen.check(graph, HIDDEN)
    pixels = seen.prepare(pattern(90, 20)).pixels[0]
    features = seen.encode(graph, pixels)
    np.testing.assert_array_equal(features.embeds, answer()[:5].reshape(-1, HIDDEN))
    fed = graph.fed["input"]
    np.testing.assert_array_equal(fed[5:], np.broadcast_to(offset, (12, *offset.shape)))
    # A patch by hand: the third tile, row 5, column 7.
    corner = pixels.data[2, 5 * PATCH : 6 * PATCH, 7 * PATCH : 8 * PATCH].transpose(2, 0, 1)
    by_hand = ((corner / 255 - 0.5) / 0.5).reshape(-1) @ weight + offset[5 * SIDE + 7]
    np.testing.assert_allclose(fed[2, 5 * SIDE + 7], by_hand, atol=1e-3)


def test_a_package_without_the_weights_is_told_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(PackageError) as error:
        encoder().load(tmp_path)
    assert str(error.value).startswith(f"{tmp_path / FILE} cannot be read: ")
    assert "python -m backends.export.smolvlm_patches CHECKPOINT PACKAGE" in str(error.value)


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE).parent.mkdir()
    (tmp_path / FILE).write_bytes(b"pickle")
    with pytest.raises(PackageError, match="cannot be read"):
        encoder().load(tmp_path)


@pytest.mark.parametrize(
    ("tensors", "found"),
    [
        ({"weight": random(768, 760), "offset": random(1024, 760)}, "offset [1024, 760], weight [768, 760]"),
        ({"weight": random(768, 768), "offset": random(729, 768)}, "offset [729, 768], weight [768, 768]"),
        ({"weight": random(768, 768).astype(np.float16)}, "none"),
    ],
)
def test_weights_of_another_tower_are_refused(tmp_path: Path, tensors: dict[str, Array], found: str) -> None:
    (tmp_path / FILE).parent.mkdir()
    save_file(tensors, tmp_path / FILE)
    with pytest.raises(PackageError) as error:
        encoder().load(tmp_path)
    assert str(error.value) == (
        f"{tmp_path / FILE} holds the float32 tensors {found}, expected offset [1024, 768], weight [768, 768]"
    )


@pytest.mark.parity
@pytest.mark.parametrize(("edge", "patch"), [(96, 8), (112, 14), (38, 6)])
def test_embeddings_are_those_of_transformers(edge: int, patch: int) -> None:
    import torch
    from transformers.models.smolvlm.configuration_smolvlm import SmolVLMVisionConfig
    from transformers.models.smolvlm.modeling_smolvlm import SmolVLMVisionEmbeddings

    torch.manual_seed(0)
    config = SmolVLMVisionConfig(image_size=edge, patch_size=patch, hidden_size=32, num_attention_heads=2)
    module = SmolVLMVisionEmbeddings(config)
    side, picture = edge // patch, random(3, edge, edge)
    with torch.no_grad():
        mask = torch.ones((1, side, side), dtype=torch.bool)
        theirs = module(torch.from_numpy(picture)[None], mask)[0].numpy()
        weight = module.patch_embedding.weight.reshape(32, -1).T.contiguous().numpy()
        offset = (module.position_embedding.weight + module.patch_embedding.bias).numpy()
    ours = PatchEmbedding(weight, offset).embeds(picture)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
