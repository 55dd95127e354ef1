"""Which colour comes first in the pixels of a vision graph: the model itself is asked.

From outside, a graph takes three channels and gives features that say nothing to anybody but the language
model behind it, which knows what red looks like. So it is shown a red picture and a blue one, red first, and
asked for the colour. Colours that come back exchanged mean that the graph takes blue first.

What counts is how much likelier `red` becomes against `blue` from one picture to the other, so a preference
for one of the words counts for nothing. A model that cannot tell, or does not answer with a colour, leaves
the question open: then red comes first, as in every published checkpoint.
"""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tokenizers import Tokenizer

from backends.base import Decoder, Graph, PackageError
from gateway.engine.engine import Engine, Failed
from gateway.engine.prompt import Identity, Prompt, PromptImage, Request, SamplingParams
from gateway.engine.session import SessionStore
from gateway.errors import GatewayError
from gateway.vision.cache import FeatureCache
from gateway.vision.channels import ChannelEncoder, ChannelSpec
from gateway.vision.encoder import VisionEncoder
from gateway.vision.layout import Span

LEAST_LEAD = 2.0
"""Natural logarithm of the least ratio that decides; the demo model's is 32."""

LEAST_SHARE = 1e-30
"""Of a word that the tokenizer cuts into pieces: then nothing is known, of either picture."""

COLOURS = {"red": (255, 0, 0), "blue": (0, 0, 255)}
SIZE = (64, 4)
"""Width and height of the pictures: the shape that makes the fewest tiles."""

log = logging.getLogger(__name__)


def settle_channels(encoder: VisionEncoder[Any], graph: Graph, decoder: Decoder, tokenizer: Path) -> None:
    """Make the encoder feed its graph in the right order, where its entry says that this has to be found out.

    `tokenizer` is the folder of that file. Raises PackageError where it does not go with the encoder, and
    DeviceError. A model that cannot answer is told in the log.
    """
    if not isinstance(encoder, ChannelEncoder) or encoder.spec.channels != "probe":
        return
    words = _load(tokenizer / "tokenizer.json")
    try:
        lead = _lead(encoder, graph, decoder, words)
    except GatewayError as reason:
        log.warning("colour probe: the model did not answer: %s", reason)
        lead = 0.0
    encoder.blue_first = lead <= -LEAST_LEAD
    if abs(lead) < LEAST_LEAD:
        log.warning(
            "colour probe: undecided (lead %+.1f, %.1f is needed); the vision graph is fed red first. If "
            "colours come out exchanged, set 'channels' of the entry '%s' to 'bgr'",
            lead,
            LEAST_LEAD,
            encoder.name,
        )
    else:
        order = "blue" if encoder.blue_first else "red"
        log.info("colour probe: the vision graph takes %s first (lead %+.1f)", order, lead)


def _lead(encoder: ChannelEncoder[ChannelSpec], graph: Graph, decoder: Decoder, words: Tokenizer) -> float:
    """How far the model takes red for red and blue for blue, rather than the other way round."""
    ids = {colour: _token_ids(words, colour) for colour in COLOURS}
    leads = []
    for shown, other in (("red", "blue"), ("blue", "red")):
        prompt = _prompt(encoder, words, Image.new("RGB", SIZE, COLOURS[shown]))
        logprobs = _first_token(encoder, graph, decoder, prompt)
        likely = {
            colour: math.log(math.fsum(math.exp(logprobs[each]) for each in found) + LEAST_SHARE)
            for colour, found in ids.items()
        }
        leads.append(likely[shown] - likely[other])
    return sum(leads)


def _load(file: Path) -> Tokenizer:
    try:
        words = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise PackageError(f"{file}: expected a Hugging Face tokenizer: {error}") from error
    words.no_padding()
    words.no_truncation()
    return words


def _token_ids(words: Tokenizer, colour: str) -> frozenset[int]:
    """The tokens that are the word, however it is written."""
    forms = [f"{blank}{word}" for blank in ("", " ") for word in (colour, colour.capitalize())]
    encoded = [words.encode(form, add_special_tokens=False).ids for form in forms]
    return frozenset(ids[0] for ids in encoded if len(ids) == 1)


def _prompt(encoder: ChannelEncoder[ChannelSpec], words: Tokenizer, picture: Image.Image) -> Prompt:
    spec, visual = encoder.spec, encoder.prepare(picture)
    placeholder = words.token_to_id(spec.placeholder)
    if placeholder is None:
        raise PackageError(f"The tokenizer has no token {spec.placeholder}, the images' own.")
    text = spec.question.replace(spec.marker, visual.layout.text)
    tiles = zip(visual.layout.tiles, visual.pixels, strict=True)
    ids: list[int] = []
    images: list[PromptImage] = []
    for token_id in words.encode(text, add_special_tokens=False).ids:
        if token_id == placeholder:
            tile, pixels = next(tiles)
            images.append(PromptImage(Span(len(ids), tile), pixels))
            ids += [token_id] * tile.num_tokens
        else:
            ids.append(token_id)
    positions = encoder.positions(len(ids), [image.span for image in images])
    return Prompt(np.array(ids, np.int64), positions, tuple(images))


def _first_token(
    encoder: ChannelEncoder[ChannelSpec], graph: Graph, decoder: Decoder, prompt: Prompt
) -> Mapping[int, float]:
    """Log probability of every token after the prompt. Raises GatewayError."""
    sessions = SessionStore(decoder, max_resident=1, max_saved_bytes=0)
    # An engine of its own, so that nothing is kept of pictures that were fed in what may be the wrong order.
    engine = Engine(decoder, lambda pixels: encoder.encode(graph, pixels), sessions, FeatureCache(0))
    sampling = SamplingParams(1, temperature=0, num_top_logprobs=decoder.info.vocab_size)
    engine.submit(Request("colour probe", prompt, sampling, Identity(ephemeral=True)))
    while True:
        for result in engine.step():
            if isinstance(result, Failed):
                raise result.error
            assert result.logprobs is not None
            return dict(result.logprobs.top)
