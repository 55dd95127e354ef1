"""How models write the tools they call, each family in its own way."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Dialect:
    """A call is `begin`, blanks, a JSON object of a name and of what is under the key `arguments`, blanks,
    and `end`. `bare`: the object alone will do where a reply begins with it; `tagged`: instead of the object,
    there is a tag for the function and one for each parameter."""

    begin: str
    end: str
    arguments: str = "arguments"
    bare: bool = False
    tagged: bool = False

    @property
    def markers(self) -> tuple[str, ...]:
        return tuple(marker for marker in (self.begin, self.end) if marker)


HERMES = Dialect("<tool_call>", "</tool_call>")
"""NousResearch's, and that of Qwen 2.5 and 3. SmolLM writes a list of objects between the two."""

TAGGED = Dialect("<tool_call>", "</tool_call>", tagged=True)
"""Qwen3-Coder's, and that of Qwen 3.5."""

LLAMA = Dialect("<|python_tag|>", "", "parameters", bare=True)
"""Llama 3.1 and later."""

INTERNLM = Dialect("<|action_start|><|plugin|>", "<|action_end|>", "parameters")
"""InternLM 2 and later."""


def dialect_of(written: str) -> Dialect:
    """That of a conversation with a call, as a chat template writes it; Hermes' where it is of no other."""
    if INTERNLM.begin in written:
        return INTERNLM
    if f"{TAGGED.begin}\n<function=" in written:
        return TAGGED
    if HERMES.begin not in written and f'"{LLAMA.arguments}":' in written:
        return LLAMA
    return HERMES
