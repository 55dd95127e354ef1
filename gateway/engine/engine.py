"""Many generations on one device, one piece of work at a time: submit, cancel, step."""

from collections.abc import Callable
from dataclasses import dataclass

from backends.base import Decoder, Hidden
from gateway.engine.generation import Decode, Encode, Generation, Prefill, Work
from gateway.engine.prompt import Output, Request
from gateway.engine.scheduler import Scheduler
from gateway.engine.session import SessionStore, StoreStats
from gateway.errors import ContextLengthExceeded, GatewayError, InvalidRequest
from gateway.vision.cache import FeatureCache
from gateway.vision.encoder import Features, Pixels

Encoder = Callable[[Pixels], Features]


@dataclass(frozen=True, slots=True)
class Failed:
    """A generation that ended with an error of its own; the engine goes on."""

    request_id: str
    error: GatewayError


@dataclass(frozen=True, slots=True)
class EngineStats:
    """A look from outside: generations with a session and without, sessions, encoder runs."""

    num_running: int
    num_waiting: int
    sessions: StoreStats
    num_encodes: int


class Engine:
    """Runs generations step by step. Not thread-safe: it lives where the device does.

    A DeviceError that leaves `step` means that the device can no longer be trusted.
    """

    def __init__(
        self, decoder: Decoder, encode: Encoder | None, sessions: SessionStore, features: FeatureCache
    ) -> None:
        self._decoder = decoder
        self._encode = encode
        self._sessions = sessions
        self._features = features
        self._scheduler = Scheduler(decoder.chunk_size)
        self._waiting: list[Request] = []
        self._running: dict[str, Generation] = {}
        self._num_encodes = 0

    @property
    def idle(self) -> bool:
        return not self._running and not self._waiting

    @property
    def stats(self) -> EngineStats:
        return EngineStats(len(self._running), len(self._waiting), self._sessions.stats, self._num_encodes)

    def submit(self, request: Request) -> None:
        """Queue a request; raises InvalidRequest where it can never run."""
        prompt, info = request.prompt, self._decoder.info
        if prompt.num_tokens >= info.context_length:
            num_image = prompt.num_image_tokens
            raise ContextLengthExceeded(info.context_length, prompt.num_tokens - num_image, num_image)
        if unknown := [
            token_id for token_id, _ in request.sampling.logit_bias if token_id >= info.vocab_size
        ]:
            raise InvalidRequest(
                f"Invalid 'logit_bias': {unknown[0]} is no token of this model, which has {info.vocab_size}.",
                param="logit_bias",
            )
        if info.index_rows == 1 and (prompt.positions != prompt.positions[0]).any():
            raise InvalidRequest(
                "This model was compiled with one row of positions, and its images need three; it takes text "
                "only.",
                param="messages",
            )
        reach = info.prefill_history + info.prefill_chunk
        late = [image for image in prompt.images if image.span.stop > reach]
        if late and info.index_rows > 1:
            raise InvalidRequest(
                f"This model takes images within the first {reach} tokens of a conversation; "
                f"an image here ends at token {late[0].span.stop}.",
                param="messages",
            )
        self._waiting.append(request)

    def cancel(self, request_id: str) -> None:
        """End a generation before its next step. Its rows stay valid for whoever asks again; unknown ids are
        over."""
        self._waiting = [request for request in self._waiting if request.id != request_id]
        if generation := self._running.get(request_id):
            self._finish(generation, keep=not generation.background)

    def step(self, begin: Callable[[Work], object] = lambda work: None) -> list[Output | Failed]:
        """Do one piece of work and say what came of it; `begin` is told before what it will be."""
        results: list[Output | Failed] = list(self._admit())
        # Background generations hold caches: while somebody waits for one, they run as well.
        work = self._scheduler.next(background=bool(self._waiting))
        if work:
            begin(work)
        match work:
            case Encode(generation, image):
                results += self._run_encode(generation, image.pixels)
            case Prefill(generation, num_tokens):
                results += self._run_prefill(generation, num_tokens)
            case Decode(generation):
                results += self._run_decode(generation)
        return results

    def _admit(self) -> list[Failed]:
        """Give waiting requests their sessions, as long as there are caches to be had."""
        failed = []
        for request in sorted(self._waiting, key=lambda request: request.identity.ephemeral):
            try:
                session = self._sessions.acquire(request.identity, request.prompt)
            except GatewayError as error:
                failed.append(Failed(request.id, error))
            else:
                if session is None:
                    break
                generation = Generation(request, session)
                self._running[request.id] = generation
                self._scheduler.add(generation)
            self._waiting.remove(request)
        return failed

    def _run_encode(self, generation: Generation, pixels: Pixels) -> list[Output | Failed]:
        features = self._features.get(pixels.digest)
        if features is None:
            assert self._encode is not None, "a prompt with pictures for a model without a vision graph"
            try:
                features = self._encode(pixels)
            except GatewayError as error:
                self._finish(generation, keep=not generation.background)
                return [Failed(generation.id, error)]
            self._num_encodes += 1
            self._features.put(pixels.digest, features)
        generation.features[pixels.digest] = features
        return []

    def _run_prefill(self, generation: Generation, num_tokens: int) -> list[Output | Failed]:
        session, start = generation.session, generation.num_computed
        assert session.cache is not None
        hidden = self._decoder.prefill(session.cache, generation.chunk(self._decoder, num_tokens))
        session.commit(generation.keys[start : start + num_tokens])
        generation.forget_features()
        return [self._sample(generation, hidden)] if generation.caught_up else []

    def _run_decode(self, generation: Generation) -> list[Output | Failed]:
        session, (token_id, position) = generation.session, generation.next_token
        assert session.cache is not None
        hidden = self._decoder.decode(session.cache, token_id, position)
        session.commit([generation.request.prompt.reply_key(token_id)])
        return [self._sample(generation, hidden)] if generation.caught_up else []

    def _sample(self, generation: Generation, hidden: Hidden) -> Output | Failed:
        logits = self._decoder.logits(hidden)
        try:
            output = generation.accept(logits, self._decoder.info.context_length)
        except GatewayError as error:
            self._finish(generation, keep=False)  # rows that lead to such logits are not to be built upon
            return Failed(generation.id, error)
        if output.finish_reason:
            self._finish(generation, keep=not generation.background)
        return output

    def _finish(self, generation: Generation, *, keep: bool) -> None:
        del self._running[generation.id]
        self._scheduler.remove(generation)
        self._sessions.release(generation.session, keep=keep)
