"""Whether llguidance can hold a reply to a schema: compiled without the vocabulary of the model it is for.

The library takes what time and memory a schema makes it take, and ends the process where that is too much. So
all but the plainest schemas are compiled in a process of their own, to which that may happen.
"""

import json
import resource
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

MAX_S = 4
"""How long the process may take; to begin, it needs a tenth of a second."""
MAX_BYTES = 256 << 20
"""Memory that it may take beside what it began with."""


def compile_apart(grammar: str) -> str | None:
    """What `compiled` says, found out in a process of its own; None where that came to no end in the time and
    memory it may take."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "gateway.chat.compiling"],
            input=grammar,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=MAX_S,
        )
    except subprocess.TimeoutExpired:
        return None
    return None if done.returncode else str(json.loads(done.stdout))


def compiled(grammar: str) -> str:
    """llguidance's own words of what is wrong with a grammar, or nothing. Its errors at run time count: only
    then a schema is found out that nothing can satisfy."""
    matcher = LLMatcher(_bytes(), grammar, log_level=0)
    if not matcher.is_error():
        matcher.compute_bitmask()
    return matcher.get_error() if matcher.is_error() else ""


class _Bytes:
    """A vocabulary of all bytes."""

    eos_token_id, bos_token_id = 256, None
    tokens = (*(bytes([byte]) for byte in range(256)), b"<end>")
    special_token_ids = (256,)

    def __call__(self, text: bytes) -> list[int]:
        return list(text)


@lru_cache(1)
def _bytes() -> LLTokenizer:
    return LLTokenizer(TokenizerWrapper(_Bytes()))


def main() -> None:
    """In the process of its own: a grammar comes in, a JSON string goes out."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MAX_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.stdout.write(json.dumps(compiled(sys.stdin.read())))


if __name__ == "__main__":
    main()
