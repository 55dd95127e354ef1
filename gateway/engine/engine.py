"""Many generations on one device, one piece of work at a time: submit, cancel, step."""

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass

from backends.base import Decoder, Hidden
from gateway.engine.generation import Decode, Encode, Generation, Prefill, Work
from gateway.engine.grammar import Constraint, Grammars
from gateway.engine.prompt import Output, Request
from gateway.engine.scheduler import Scheduler
from gateway.engine.session import SessionStore, StoreStats
from gateway.errors import ContextLengthExceeded, GatewayError, InvalidRequest
from gateway.vision.cache import FeatureCache
from gateway.vision.encoder import Features, Pixels

Encoder = Callable[[Pixels], Features]
LOOK_S = 0.05  # so often a grammar that everybody waits for lets go, for messages that may have come


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

    A DeviceError that leaves `step` means that the device can no longer be trusted. Without `grammars`, every
    reply is free.
    """

    def __init__(
        self,
        decoder: Decoder,
        encode: Encoder | None,
        sessions: SessionStore,
        features: FeatureCache,
        grammars: Grammars | None = None,
    ) -> None:
        self._decoder = decoder
        self._encode = encode
        self._sessions = sessions
        self._features = features
        self._grammars = grammars
        self._scheduler = Scheduler(decoder.chunk_size)
        self._waiting: list[Request] = []
        self._constraints: dict[str, Future[Constraint]] = {}  # of those that wait
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
        late = [image for image in prompt.images if image.span.stop > info.image_reach]
        if late:
            raise InvalidRequest(
                f"This model takes images within the first {info.image_reach} tokens of a conversation; "
                f"an image here ends at token {late[0].span.stop}.",
                param="messages",
            )
        self._constrain(request)
        self._waiting.append(request)

    def cancel(self, request_id: str) -> None:
        """End a generation before its next step. Its rows stay valid for whoever asks again; unknown ids are
        over."""
        self._waiting = [request for request in self._waiting if request.id != request_id]
        if constraint := self._constraints.pop(request_id, None):
            constraint.cancel()
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
            case None if not results:
                wait(self._constraints.values(), LOOK_S, FIRST_COMPLETED)
        return results

    def _constrain(self, request: Request) -> None:
        """Have its grammar made ready, beside what is done here; raises InvalidRequest."""
        sampling = request.sampling
        if sampling.grammar is None:
            return
        assert self._grammars is not None, "a grammar for an engine whose replies are free"
        self._constraints[request.id] = self._grammars.begin(
            sampling.grammar,
            # A token that nobody computed has no log probability.
            forcing=sampling.num_top_logprobs is None,
            begun=request.begun,
            room=request.room(self._decoder.info.context_length),
        )

    def _admit(self) -> list[Failed]:
        """Give waiting requests whose grammars are ready their sessions, as long as there are caches to be
        had."""
        failed = []
        for request in sorted(self._waiting, key=lambda request: request.identity.ephemeral):
            constraint = self._constraints.get(request.id)
            if constraint and not constraint.done():
                continue
            try:
                follow = constraint.result() if constraint else None
                session = self._sessions.acquire(request.identity, request.prompt)
            except GatewayError as error:
                failed.append(Failed(request.id, error))
            else:
                if session is None:
                    break
                room = request.room(self._decoder.info.context_length)
                generation = Generation(request, session, room, follow)
                self._running[request.id] = generation
                self._scheduler.add(generation)
            self._waiting.remove(request)
            self._constraints.pop(request.id, None)
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
        return self._go_on(generation, hidden)

    def _run_decode(self, generation: Generation) -> list[Output | Failed]:
        session, (token_id, position) = generation.session, generation.next_token
        assert session.cache is not None
        hidden = self._decoder.decode(session.cache, token_id, position)
        session.commit([generation.keys[generation.num_computed]])
        return self._go_on(generation, hidden)

    def _go_on(self, generation: Generation, hidden: Hidden) -> list[Output | Failed]:
        """Once all that is known is on the device, find out more."""
        if not generation.caught_up:
            return []
        results: list[Output | Failed] = [*generation.tell()]
        if generation.finish_reason is None:
            logits = self._decoder.logits(hidden)
            try:
                results += generation.accept(logits)
            except GatewayError as error:
                self._finish(generation, keep=False)  # rows that lead to such logits are not to be built upon
                return [*results, Failed(generation.id, error)]
        if generation.finish_reason:
            self._finish(generation, keep=not generation.background)
        return results

    def _finish(self, generation: Generation, *, keep: bool) -> None:
        del self._running[generation.id]
        self._scheduler.remove(generation)
        self._sessions.release(generation.session, keep=keep)
