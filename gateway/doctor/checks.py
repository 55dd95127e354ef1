"""All checks, in the order in which they are made: the first that fails explains the later ones."""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.doctor import bus, card, running, software, speech, stress, system
from gateway.doctor.finding import Finding
from gateway.doctor.machine import Machine
from gateway.doctor.patient import Patient

LOOK_S, CALL_S, COPY_S, LOAD_S = 10.0, 30.0, 60.0, 600.0
"""How long looking at files, a call of the card, copies, and loading a model may take. The card gives a run
on its NPU up after 10.4 s, and its properties are seven shell commands of at most a second each."""


@dataclass(frozen=True, slots=True)
class Check:
    """`about` says what is looked at. It is made only after the checks in `needs` found something to go on,
    and where `card_only`, only of a real card."""

    name: str
    about: str
    run: Callable[[Patient], Finding]
    deadline_s: float
    needs: tuple[str, ...] = ()
    card_only: bool = False


def _host(
    name: str, about: str, look: Callable[[Machine], Finding], *needs: str, card_only: bool = True
) -> Check:
    return Check(name, about, lambda patient: look(patient.machine), LOOK_S, needs, card_only)


def _card(
    name: str,
    about: str,
    run: Callable[[Patient], Finding],
    deadline_s: float = CALL_S,
    *,
    card_only: bool = False,
) -> Check:
    return Check(name, about, run, deadline_s, ("open",), card_only)


def _model(name: str, about: str, run: Callable[[Patient], Finding], deadline_s: float, *needs: str) -> Check:
    return Check(name, about, run, deadline_s, needs)


CHECKS = (
    _host("python", "Python has 64 bits", software.python, card_only=False),
    _host("open_files", "connections find room", system.open_files, card_only=False),
    _host("card", "an AX650N is on the PCI bus", bus.on_bus),
    _host("link", "its link is as fast as it can be and its memory regions are there", bus.link, "card"),
    _host("aspm", "its link is not put to sleep", bus.aspm, "card"),
    _host("driver", "the kernel modules are loaded and bound to it", bus.driver),
    _host("nodes", "the device nodes are there, and this user may open them", bus.nodes),
    _host("firmware", "there is firmware to load into it", bus.firmware),
    _host("libraries", "the libraries are there, and for this machine", software.libraries),
    _host("versions", "pyAXCL and axclhost are of one version", software.versions),
    _host("dma_buffer", "the buffers for DMA have a size that the library takes", software.dma_buffer),
    _host("log_place", "the library can write its log", software.log_place),
    _host("sleep", "the host does not go to sleep, and has not", system.sleep),
    _host("cma", "the kernel has memory for DMA", system.cma),
    _host("governor", "the CPUs run at full speed", system.governor),
    _host("interrupts", "the card's interrupts come to a fast CPU", system.interrupts, "card"),
    _host("kernel_log", "the driver has not given a card up", bus.kernel_log),
    Check("pyaxcl", "pyAXCL can be imported", card.binding, CALL_S),
    Check(
        "open",
        "the library starts with JSON text, lists the card, and opens it",
        card.opened,
        COPY_S,
        ("pyaxcl",),
    ),
    _card("log", "the library took the JSON text", card.log_written, LOOK_S, card_only=True),
    _card("releases", "library, firmware and pyAXCL are of one release", card.releases),
    _card("memory", "the card's memory is free", card.memory),
    _card("temperature", "the card is not hot", card.temperature),
    _card(
        "copies",
        "what is copied up, across and down comes back, after the card was asked for its state",
        card.copies,
        COPY_S,
    ),
    _card("round_trip", "how long the shortest calls take", card.round_trip, COPY_S),
    _card("bandwidth", "how fast copies are, in three sizes", card.rates, COPY_S),
    _card(
        "smi",
        "axcl-smi tells of the card beside this process, and counts as it does",
        card.smi,
        card_only=True,
    ),
    _model("package", "the model's files are complete, and it fits", running.package, LOOK_S, "open"),
    _model("execute", "one layer runs on zeros", running.one_execute, COPY_S, "package"),
    # Before the layers, because it is larger than one: see Package.load_bytes.
    _model("vision", "the vision graph runs on a black picture", running.vision, LOAD_S, "execute"),
    _model("load", "the language model loads", running.load, LOAD_S, "execute"),
    _model("self_test", "which ways of writing K/V rows agree", running.self_test, LOAD_S, "load"),
    _model("generate", "a chunk and some tokens, timed", running.generate, LOAD_S, "self_test"),
    _model(
        "same_tokens",
        "those ways give the same tokens in the long run",
        speech.same_tokens,
        LOAD_S,
        "generate",
    ),
    _model(
        "encoder",
        "its features reach the model, and the order of colours is known",
        speech.encoder,
        LOAD_S,
        "vision",
        "load",
    ),
    _model(
        "answer",
        "a fixed question is answered, and not with the same word again and again",
        speech.answer,
        LOAD_S,
        "generate",
    ),
    _card("give_back", "all is closed in order, and the card's memory is back", card.given_back, COPY_S),
    _card("binding", "what becomes of a thread's context, which is not relied on", card.binding_kept, COPY_S),
    _card("kills", "processes may be killed at their work on the card", stress.kills, LOAD_S),
    _card("fill", "the card's memory may be filled, and comes back", stress.fill, LOAD_S),
)

MODEL_CHECKS = frozenset(
    {
        "package",
        "execute",
        "vision",
        "load",
        "self_test",
        "generate",
        "same_tokens",
        "encoder",
        "answer",
    }
)
STRESS_CHECKS = frozenset({"kills", "fill"})
