"""A checkpoint folder of another family that begins with what the first demo model has learnt.

`python -m training.warm_start gateway/demo/checkpoint FOLDER --family internvl --minutes 8`

The text model and the tower's blocks are taken over. What the other family's tower has not (rotary
positions, deepstack), it then learns from the first model's tower: to give the tokens which that gives to
the text model, with what its deepstack would add later already added.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import AddedToken, Tokenizer
from torch import Tensor, nn

from training.batches import Batch, Packer
from training.checkpoint import load, save
from training.dialects import QWEN3_VL
from training.evaluate import MEASURED_ROWS
from training.examples import TAUGHT, scenes
from training.families import FAMILIES, Family
from training.looks import random_look
from training.model import DemoModel
from training.optimiser import Optimiser
from training.questions import Kind
from training.tensors import tensors
from training.vision import patches

_PICTURES = 96
_KINDS: tuple[Kind, ...] = ("shape", "text", "pair")

NEW_TOKENS: dict[str, dict[str, str]] = {
    "internvl": {
        "<img>": "<|vision_start|>",
        "</img>": "<|vision_end|>",
        "<IMG_CONTEXT>": "<|image_pad|>",
        "<video>": "<|video_pad|>",
    },
    "smolvlm": {
        "<fake_token_around_image>": "<|vision_start|>",
        "<global-img>": "<|vision_start|>",
        "<image>": "<|image_pad|>",
        "<end_of_utterance>": "<|im_end|>",
        "<video>": "<|video_pad|>",
        **{f"<row_{r}_col_{c}>": "<|vision_start|>" for r in range(1, 5) for c in range(1, 5)},
    },
}
"""The special tokens of a family, and the token of the first model whose embedding each begins with."""


def widened(tokenizer: Path, family: Family) -> Tokenizer:
    """The first model's tokenizer with the family's special tokens behind its own."""
    found = Tokenizer.from_file(str(tokenizer))
    found.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in NEW_TOKENS[family.model_type]]
    )
    return found


def taken_over(first: DemoModel, family: Family, tokenizer: Tokenizer) -> DemoModel:
    """A model of the family with every weight of the first that has a place in it."""
    model = family.model()
    old = first.state_dict()
    new = {
        name: old[name]
        for name, value in model.state_dict().items()
        if name in old and old[name].shape == value.shape
    }
    embedding = old["language_model.embed_tokens.weight"].clone()
    for token, like in NEW_TOKENS[family.model_type].items():
        embedding[tokenizer.token_to_id(token)] = embedding[tokenizer.token_to_id(like)]
    new["language_model.embed_tokens.weight"] = embedding
    if family.model_type == "internvl":
        new["visual.pos_embed"] = F.pad(old["visual.pos_embed.weight"], (0, 0, 1, 0))[None]
    else:
        new["visual.norm.weight"] = old["visual.merger.norm.weight"]
        new["visual.norm.bias"] = old["visual.merger.norm.bias"]
    # the patches' matrix for pixels that are normalised otherwise
    ratio, shift = model.std / first.std, (model.mean - first.mean) / first.std
    matrix = old["visual.patch_embed.proj.weight"]
    new["visual.patch_embed.proj.weight"] = matrix * ratio
    new["visual.patch_embed.proj.bias"] = old["visual.patch_embed.proj.bias"] + matrix @ shift
    model.load_state_dict(new, strict=False)
    return model


def fold_norms(first: DemoModel, model: DemoModel, batch: Batch) -> None:
    """Give queries and keys of a model that does not normalise them about the size they had when normalised.

    A norm divides by what it finds and multiplies by its gains; the matrix before it takes over the gains
    and, head by head, the mean of the divisors on the batch.
    """
    scales: dict[str, Tensor] = {}

    def measure(name: str) -> object:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            heads = output.float().unflatten(-1, (-1, first.language_model.layers[0].self_attn.head_dim))
            written = torch.from_numpy(batch.segments >= 0)
            scales[name] = heads.pow(2).mean(-1).rsqrt()[written].mean(0)

        return hook

    hooks = [
        getattr(layer.self_attn, f"{which}_proj").register_forward_hook(measure(f"{index} {which}"))
        for index, layer in enumerate(first.language_model.layers)
        for which in "qk"
    ]
    with torch.no_grad():
        first.hidden(*tensors(batch).inputs)
        for index, layer in enumerate(model.language_model.layers):
            for which in "qk":
                gains = getattr(first.language_model.layers[index].self_attn, f"{which}_norm").weight
                factors = (scales[f"{index} {which}"][:, None] * gains).flatten()
                getattr(layer.self_attn, f"{which}_proj").weight.mul_(factors[:, None])
    for hook in hooks:
        hook.remove()


def pictures(seed: int) -> Iterator[Tensor]:
    """Batches of patches of pictures as training sees them, the same for the same seed."""
    rng = random.Random(f"imitation {seed}")
    while True:
        drawn = [scene for _ in range(_PICTURES) for scene in scenes(rng, rng.choice(_KINDS), TAUGHT)]
        yield patches(torch.from_numpy(np.stack([random_look(rng).take(s) for s in drawn[:_PICTURES]])))


def wanted(first: DemoModel, given: Tensor) -> Tensor:
    """What the tokens should be, in float32: the first model's, with what its deepstack adds later."""
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        seen, deep = first.look(given)
    return torch.stack([seen, *deep]).float().sum(0)


def solve_last_layer(first: DemoModel, model: DemoModel, given: Tensor) -> None:
    """Give the tower's last matrix its least-squares solution for the pictures, from the tower as it is."""
    last = [module for module in model.visual.modules() if isinstance(module, nn.Linear)][-1]
    inputs: list[Tensor] = []
    hook = last.register_forward_hook(lambda _module, taken, _output: inputs.append(taken[0]))
    with torch.no_grad():
        model.look(given)
        hook.remove()
        x, y = inputs[0].flatten(0, 1).float(), wanted(first, given).flatten(0, 1)
        if last.bias is not None:
            x = F.pad(x, (0, 1), value=1.0)
        ridge = 1e-3 * len(x) * torch.eye(x.shape[1])
        solution = torch.linalg.solve(x.T @ x + ridge, x.T @ y).T
        last.weight.copy_(solution[:, : last.in_features])
        if last.bias is not None:
            last.bias.copy_(solution[:, -1])


def imitate(first: DemoModel, model: DemoModel, minutes: float) -> None:
    """Teach the tower of `model` to give the tokens of the first model's tower."""
    drawn = pictures(0)
    solve_last_layer(first, model, torch.cat([next(drawn) for _ in range(4)]))
    optimiser = Optimiser(model.visual.named_parameters(), 0.01, 0.001)
    began = time.monotonic()
    for step, given in enumerate(drawn):
        progress = (time.monotonic() - began) / 60 / minutes if minutes else 1.0
        if progress >= 1:
            break
        target = wanted(first, given)
        with torch.autocast("cpu", torch.bfloat16):
            tokens, _ = model.look(given)
        loss = ((tokens.float() - target).pow(2).mean((0, 1)) / target.var((0, 1))).mean()
        loss.backward()
        optimiser.step(min(1.0, (step + 1) / 30, (1 - progress) / 0.75))
        if step % 20 == 0:
            print(f"step {step} ({progress:.0%}): {loss.item():.4f} of the variance is missed", flush=True)


def main() -> None:
    """Make the folder."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("first", type=Path, help="checkpoint folder of the first demo model")
    options.add_argument("folder", type=Path)
    options.add_argument("--family", choices=tuple(NEW_TOKENS), required=True)
    options.add_argument("--minutes", type=float, default=8.0)
    options.add_argument("--threads", type=int, default=2)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    family = FAMILIES[given.family]
    given.folder.mkdir(parents=True, exist_ok=True)
    tokenizer = widened(given.first / "tokenizer.json", family)
    tokenizer.save(str(given.folder / "tokenizer.json"))
    first = load(given.first)
    model = taken_over(first, family, tokenizer)
    if not family.config.qk_norm:
        fold_norms(
            first, model, Packer(given.first / "tokenizer.json", QWEN3_VL).batch("norms", MEASURED_ROWS)
        )
    imitate(first, model, given.minutes)
    save(model, family, given.folder)


if __name__ == "__main__":
    main()
