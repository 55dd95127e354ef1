"""Every family against transformers: pixels, prompts, features, and all the way from checkpoint to tokens."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest

from backends.base import Array
from gateway.chat.tokenizer import Tokenizer
from gateway.engine.prompt import Prompt
from gateway.vision.encoder import Visual
from tests.families.cases import CASES
from tests.families.conversations import CONVERSATIONS, SIZES, about, num_pictures
from tests.families.expected import digest, expected, golden, pixel_cases, spec
from tests.families.path import checkpoint, chosen, package, prompt
from tests.vision.pictures import pattern
from tests.whole.path import Path, running
from tests.whole.test_whole_path import CHUNKS, LOGIT_BOUND

FEATURE_BOUND = 1e-5  # of the largest feature; fp32 on both sides
PIXELS = [(name, key) for name, case in CASES.items() for key, *_ in pixel_cases(case)]


def runs(visual: Visual) -> list[Array]:
    """What the graph is given for a picture, once for all tiles that share a run."""
    return [pixels.data for pixels in {id(pixels): pixels for pixels in visual.pixels}.values()]


@contextmanager
def path(name: str, chunk: int) -> Iterator[Path]:
    files = package(name, chunk)
    with running(files, partial(chosen, CASES[name], files.prefix)) as found:
        yield found


def question(name: str, found: Path) -> Prompt:
    """About the case's pictures, made with the package's own tokenizer."""
    assert found.encoder is not None
    sizes = CASES[name].pictures
    tokenizer = package(name, CHUNKS[0]).tokenizer
    return prompt(found.encoder, tokenizer, about(len(sizes)), [pattern(*size) for size in sizes])


@pytest.mark.parametrize(("name", "key"), PIXELS)
def test_pixels_are_those_of_transformers(name: str, key: str) -> None:
    case = CASES[name]
    (found,) = [each for each in pixel_cases(case) if each[0] == key]
    _, size, graph_input = found
    visual = chosen(case, case.entry["prefixes"][0], graph_input).prepare(pattern(*size))
    assert digest(runs(visual)) == golden(name).pixels[key]


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("name", CASES)
def test_token_ids_are_those_of_transformers(name: str, conversation: str) -> None:
    case, messages = CASES[name], CONVERSATIONS[conversation]
    encoder = chosen(case, case.entry["prefixes"][0], spec(case).inputs[0])
    pictures = [pattern(*size) for size in SIZES[: num_pictures(messages)]]
    asked = prompt(encoder, checkpoint(name), messages, pictures)
    assert asked.token_ids.tolist() == golden(name).prompts[conversation]
    placeholders = [place for image in asked.images for place in range(image.span.start, image.span.stop)]
    word = Tokenizer.load(checkpoint(name)).token_id(encoder.spec.placeholder)
    assert placeholders == np.flatnonzero(asked.token_ids == word).tolist()


@pytest.mark.parametrize("name", CASES)
def test_features_are_those_of_transformers(name: str) -> None:
    with path(name, CHUNKS[0]) as found:
        assert found.encode is not None
        features = [
            found.encode(image.pixels).embeds[image.span.tile.first :][: image.span.num_tokens]
            for image in question(name, found).images
        ]
    wanted = golden(name).features
    assert np.abs(np.concatenate(features) - wanted).max() <= FEATURE_BOUND * np.abs(wanted).max()


@pytest.mark.parametrize("name", CASES)
def test_the_encoder_and_the_graph_of_the_package_fit(name: str) -> None:
    with path(name, CHUNKS[0]) as found:
        vision = package(name, CHUNKS[0]).vision
        assert found.encoder is not None
        assert vision is not None
        found.encoder.check(found.backend.graph(vision), found.decoder.info.hidden_size)


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_transformers_within_bf16_noise(name: str, chunk: int) -> None:
    wanted = golden(name).logits
    with path(name, chunk) as found:
        found.say(question(name, found), num_tokens=1)
    assert np.abs(found.logits[0] - wanted).max() <= LOGIT_BOUND * wanted.std()


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("name", CASES)
def test_greedy_tokens_are_those_of_transformers(name: str, chunk: int) -> None:
    tokens = golden(name).tokens
    with path(name, chunk) as found:
        assert found.say(question(name, found), num_tokens=len(tokens)) == [tokens]


@pytest.mark.parity
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", CASES)
def test_the_golden_file_is_what_transformers_says(name: str) -> None:
    live = expected(CASES[name], checkpoint(name))
    kept = golden(name)
    assert live.pixels == kept.pixels
    assert live.prompts == kept.prompts
    np.testing.assert_allclose(live.features, kept.features, atol=1e-4)
    np.testing.assert_allclose(live.logits, kept.logits, atol=1e-3)
    assert live.tokens == kept.tokens
