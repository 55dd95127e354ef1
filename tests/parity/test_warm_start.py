"""Warm starts: what another family's model takes over from the first demo model still does its work."""

from __future__ import annotations

from typing import Any

import pytest

from tests.training.checkpoints import FOLDERS
from training.batches import Batch, Composition, Packer
from training.dialects import QWEN3_VL

pytestmark = [pytest.mark.parity, pytest.mark.filterwarnings("default")]

OTHERS = ["internvl", "smolvlm"]


@pytest.fixture(scope="module")
def first() -> Any:
    from training.checkpoint import load

    return load(FOLDERS["qwen3_vl"])


@pytest.fixture(scope="module")
def batch() -> Batch:
    return Packer(FOLDERS["qwen3_vl"] / "tokenizer.json", QWEN3_VL).batch("warm", Composition(2, 2, 2, 1))


def started(first: Any, family: str) -> tuple[Any, Any]:
    from training.families import FAMILIES
    from training.warm_start import taken_over, widened

    tokenizer = widened(FOLDERS["qwen3_vl"] / "tokenizer.json", FAMILIES[family])
    return taken_over(first, FAMILIES[family], tokenizer), tokenizer


@pytest.mark.parametrize("family", OTHERS)
def test_the_tokenizer_is_the_one_that_is_shipped(family: str) -> None:
    from training.families import FAMILIES
    from training.warm_start import widened

    made = widened(FOLDERS["qwen3_vl"] / "tokenizer.json", FAMILIES[family])
    assert made.to_str(pretty=True) == (FOLDERS[family] / "tokenizer.json").read_text()


@pytest.mark.parametrize("family", OTHERS)
def test_patches_are_embedded_as_in_the_first_model(first: Any, batch: Batch, family: str) -> None:
    import torch

    from training.vision import patches

    model, _ = started(first, family)
    given = patches(torch.from_numpy(batch.pixels))
    with torch.no_grad():
        ours = model.visual.patch_embed((given - model.mean) / model.std)
        theirs = first.visual.patch_embed((given - first.mean) / first.std)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", OTHERS)
def test_a_new_token_begins_as_one_of_the_first_model(first: Any, family: str) -> None:
    from training.families import FAMILIES

    model, tokenizer = started(first, family)
    table = model.language_model.embed_tokens.weight
    end = FAMILIES[family].dialect.end
    assert (table[tokenizer.token_to_id(end)] == table[tokenizer.token_to_id("<|im_end|>")]).all()
    placed = table[tokenizer.token_to_id(FAMILIES[family].dialect.placeholder)]
    assert (placed == table[tokenizer.token_to_id("<|image_pad|>")]).all()


def test_internvls_text_model_is_the_first_models(first: Any, batch: Batch) -> None:
    import torch

    from training.tensors import tensors

    model, _ = started(first, "internvl")
    ids, given, pictures, positions, mask = tensors(batch).inputs
    blind = torch.zeros_like(pictures)
    with torch.no_grad():
        ours, _ = model.hidden(ids, given, blind, positions, mask.float())
        theirs, _ = first.hidden(ids, given, blind, positions, mask.float())
    torch.testing.assert_close(ours, theirs)


def test_folded_norms_keep_most_answers(first: Any, batch: Batch) -> None:
    import copy

    from torch import nn

    from training.evaluate import evaluate
    from training.warm_start import fold_norms

    folded, unfolded = copy.deepcopy(first), copy.deepcopy(first)
    fold_norms(first, folded, batch)
    for model in (folded, unfolded):
        for layer in model.language_model.layers:
            layer.self_attn.q_norm = layer.self_attn.k_norm = nn.Identity()
    kept, lost = evaluate(folded, [batch]), evaluate(unfolded, [batch])
    assert kept.share > 0.6
    assert kept.loss < lost.loss / 2


@pytest.mark.parametrize("family", OTHERS)
def test_the_last_layer_solved_explains_most_of_the_first_towers_tokens(first: Any, family: str) -> None:
    import torch

    from training.warm_start import pictures, solve_last_layer, wanted

    torch.manual_seed(0)
    model, _ = started(first, family)
    drawn = pictures(1)
    solve_last_layer(first, model, next(drawn))
    given = next(drawn)
    target = wanted(first, given)
    with torch.no_grad():
        missed = (model.look(given)[0] - target).pow(2).mean((0, 1)) / target.var((0, 1))
    assert float(missed.mean()) < 0.75


@pytest.mark.parametrize("family", list(FOLDERS))
def test_a_folder_read_and_written_is_the_same(family: str, tmp_path: Any) -> None:
    import shutil

    from training.checkpoint import load, save
    from training.families import family_of

    shutil.copy(FOLDERS[family] / "tokenizer.json", tmp_path)
    save(load(FOLDERS[family]), family_of(FOLDERS[family]), tmp_path)
    for file in tmp_path.iterdir():
        if file.name != "model.safetensors":
            assert file.read_bytes() == (FOLDERS[family] / file.name).read_bytes()
    assert same_weights(tmp_path, FOLDERS[family])


def same_weights(one: Any, other: Any) -> bool:
    from safetensors.numpy import load_file

    first, second = (load_file(folder / "model.safetensors") for folder in (one, other))
    return set(first) == set(second) and all((first[name] == second[name]).all() for name in first)
