"""The scheduler as a table: generations in, the order of work out."""

from dataclasses import dataclass, field

from gateway.engine.engine import Engine
from gateway.engine.generation import Decode, Encode, Prefill, Work
from gateway.engine.prompt import Prompt
from tests.engine.toy import ToyDevice, engine, picture, prompt, request


@dataclass
class Traced:
    """An engine whose scheduler's choices are written down, e.g. `E1 P1:4 D2`."""

    device: ToyDevice = field(default_factory=ToyDevice)
    trace: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engine: Engine = engine(self.device)
        choose = self.engine._scheduler.next

        def traced(*, background: bool) -> Work | None:
            work = choose(background=background)
            match work:
                case Encode(generation, _):
                    self.trace.append(f"E{generation.id}")
                case Prefill(generation, num_tokens):
                    self.trace.append(f"P{generation.id}:{num_tokens}")
                case Decode(generation):
                    self.trace.append(f"D{generation.id}")
            return work

        self.engine._scheduler.next = traced  # type: ignore[method-assign, assignment]

    def submit(self, id: str, asked: Prompt, max_tokens: int = 3, *, task: bool = False) -> None:
        self.engine.submit(request(id, asked, max_tokens, owner=id, task=task))

    def steps(self, number: int = 1000) -> str:
        """Take so many steps, or as many as there are, and tell them."""
        self.trace.clear()
        for _ in range(number):
            if self.engine.idle:
                break
            self.engine.step()
        return " ".join(self.trace)


def test_one_generation_prefills_in_chunks_and_then_decodes() -> None:
    chat = Traced()
    chat.submit("1", prompt("nine long"))
    assert chat.steps() == "P1:4 P1:4 P1:1 D1 D1"


def test_a_picture_is_encoded_just_before_the_chunk_that_needs_it() -> None:
    chat = Traced()
    chat.submit("1", prompt("four", picture("red"), picture("blue")), 1)
    assert chat.steps() == "P1:4 E1 P1:4 E1 P1:4"


def test_decoding_goes_on_between_the_pieces_of_somebodys_prompt() -> None:
    chat = Traced()
    chat.submit("1", prompt("1234"), 9)
    chat.steps(1)
    chat.submit("2", prompt("a prompt of 21 tokens"), 2)
    chat.submit("3", prompt("abcd"), 2)
    assert chat.steps() == "D1 P2:4 D1 P2:4 D1 P2:4 D1 P2:4 D1 P2:4 D1 P2:1 D1 D2 P3:4 D1 D3"


def test_every_decoding_generation_gets_one_token_a_round() -> None:
    chat = Traced()
    for id in "123":
        chat.submit(id, prompt("1234"), 4)
    assert chat.steps() == "P1:4 D1 P2:4 D1 D2 P3:4 D1 D2 D3 D2 D3 D3"


def test_background_work_waits_until_nothing_else_is_left() -> None:
    chat = Traced()
    chat.submit("t", prompt("a title"), 3, task=True)
    chat.steps(3)
    chat.submit("1", prompt("123456"))
    assert chat.steps() == "P1:4 P1:2 D1 D1 Dt"


def test_a_cancelled_generation_is_never_chosen_again() -> None:
    chat = Traced()
    chat.submit("1", prompt("1234"), 9)
    chat.submit("2", prompt("1234"), 9)
    chat.steps(4)
    chat.engine.cancel("1")
    assert set(chat.steps(5).split()) == {"D2"}
