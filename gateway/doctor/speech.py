"""Whether what a model says is worth anything: the same tokens in every way, pictures that reach it, and an
answer."""

from itertools import groupby
from statistics import median

from PIL import Image

from backends.axcl.layers import KvWrite
from gateway.chat.content import Message, TextPart
from gateway.chat.generation import GenerationDefaults
from gateway.chat.template import ChatTemplate
from gateway.chat.tokenizer import Tokenizer
from gateway.chat.writer import PromptWriter
from gateway.doctor.finding import Finding, Number, failed, fine, skipped, warning
from gateway.doctor.patient import Patient
from gateway.doctor.running import GARBAGE, prefilled
from gateway.engine.colour_probe import settle_channels
from gateway.engine.engine import Engine, Failed
from gateway.engine.prompt import Identity, Output, Prompt, Request, SamplingParams
from gateway.engine.session import SessionStore
from gateway.errors import GatewayError
from gateway.vision.cache import FeatureCache
from gateway.vision.channels import ChannelEncoder
from gateway.vision.registry import Registry, RegistryError

NUM_SAME = 200
QUESTION = "Hello! Who are you?"
MAX_ANSWER, MAX_SHOWN = 48, 200
MAX_RUN = 8
"""So often no language repeats a token."""

PICTURE = (64, 48)


def same_tokens(patient: Patient) -> Finding:
    """The self-test compares bits of few steps; this, what becomes of many."""
    decoder, chosen = patient.decoder, patient.decoder.kv_write
    ways = patient.agreeing
    try:
        expected, *others = [_decoded(patient, way) for way in ways]
    finally:
        decoder.kv_write = chosen
    told = f"{len(expected)} tokens are the same written {', '.join(way.value for way in ways)}"
    for way, found in zip(ways[1:], others, strict=True):
        if found != expected:
            place = next(n for n, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b)
            return failed(
                f"written the {way.value} way, token {place} is another than written the vendor's way",
                f"Serve with --kv-write {ways[ways.index(way) - 1].value}, and say so in an issue.",
                place=place,
            )
    return fine(told, num_tokens=len(expected))


def _decoded(patient: Patient, way: KvWrite) -> list[int]:
    """The likeliest tokens, one after the other."""
    decoder = patient.decoder
    decoder.kv_write = way
    cache = decoder.new_cache()
    try:
        logits, token_ids = decoder.logits(prefilled(decoder, cache)), []
        for _ in range(min(NUM_SAME, decoder.info.context_length - cache.length)):
            token_ids.append(int(logits.argmax()))
            logits = decoder.logits(decoder.decode(cache, token_ids[-1], cache.length))
    finally:
        cache.free()
    return token_ids


def encoder(patient: Patient) -> Finding:
    """Raises PackageError where the graph does not fit its entry."""
    package, decoder = patient.package, patient.decoder
    registry = Registry.load()
    try:
        registry.check(package.prefix, has_vision=package.vision is not None)
        if package.vision is None:
            return skipped("this model has no vision graph")
        graph = patient.graph
        found = registry.find(package.prefix, graph.inputs[0], package.added_tokens)
    except RegistryError as reason:
        return failed(str(reason), "docs/models.md tells how to describe a vision graph (--vision-models).")
    found.load(package.folder)
    found.check(graph, decoder.info.hidden_size)
    settle_channels(found, graph, decoder, package.tokenizer)
    try:
        (pixels, *_) = found.prepare(Image.new("RGB", PICTURE, (255, 0, 0))).pixels
        features = found.encode(graph, pixels)
    except GatewayError as reason:
        return failed(f"a red picture cannot be encoded: {reason}", GARBAGE)
    patient.encoder = found
    order = "blue" if isinstance(found, ChannelEncoder) and found.blue_first else "red"
    rows, size = features.embeds.shape
    told = f"entry {found.name}: a red picture gives {rows} rows of {size}, {order} first"
    return fine(told, entry=found.name, num_rows=rows, first=order)


def answer(patient: Patient) -> Finding:
    """Of a fixed question, with the likeliest tokens: a model that was compiled wrong says the same word
    again and again. Raises PackageError."""
    decoder, package = patient.decoder, patient.package
    tokenizer = Tokenizer.load(package.tokenizer)
    defaults = GenerationDefaults.load(package.tokenizer, tokenizer, package.sampling)
    prompt = _prompt(patient, tokenizer)
    sampling = SamplingParams(
        MAX_ANSWER, temperature=0, stop_token_ids=defaults.stop_token_ids, num_top_logprobs=2
    )
    engine = Engine(decoder, None, SessionStore(decoder, 1, 0), FeatureCache(0))
    try:
        outputs = _answered(engine, Request("doctor", prompt, sampling, Identity(ephemeral=True)))
    except GatewayError as reason:
        return failed(f"no answer: {reason}", GARBAGE)
    ids = [output.token_id for output in outputs if output.token_id is not None]
    margins = [each.logprobs.top[0][1] - each.logprobs.top[1][1] for each in outputs if each.logprobs]
    text = tokenizer.decode(ids)
    told = f"{QUESTION!r} → {text[:MAX_SHOWN]!r}"
    numbers: dict[str, Number | list[Number]] = {
        "question": QUESTION,
        "prompt_ids": [int(each) for each in prompt.token_ids],
        "token_ids": [*ids],
        "margin": round(float(median(margins)), 4) if margins else None,
    }
    if not ids or not any(margins):
        return failed(f"{told}: nothing is likelier than anything else", GARBAGE, **numbers)
    if max(len(list(same)) for _, same in groupby(ids)) >= MAX_RUN:
        return warning(f"{told}: the same again and again", GARBAGE, **numbers)
    return fine(told, **numbers)


def _prompt(patient: Patient, tokenizer: Tokenizer) -> Prompt:
    found, folder = patient.encoder, patient.package.tokenizer
    if found is None or found.spec.template is None:
        template = ChatTemplate.load(folder, tokenizer.special_tokens)
    else:
        template = ChatTemplate.for_pictures(
            folder, tokenizer.special_tokens, found.spec.marker, found.spec.template
        )
    length = patient.decoder.info.context_length
    writer = PromptWriter(patient.package.name, tokenizer, template, None, length, length)
    return writer.finish(writer.draft([Message("user", (TextPart(QUESTION),))]), ())


def _answered(engine: Engine, request: Request) -> list[Output]:
    engine.submit(request)
    outputs: list[Output] = []
    while not outputs or outputs[-1].finish_reason is None:
        for result in engine.step():
            if isinstance(result, Failed):
                raise result.error
            outputs.append(result)
    return outputs
