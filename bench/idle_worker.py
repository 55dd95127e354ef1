"""`gateway.engine.worker` on an emulated card whose NPU does nothing once the model is loaded; the logits say
the same text over and over. To be run in its place, as `python -m bench.idle_worker FD`.
"""

import os
import sys
from itertools import cycle
from multiprocessing.connection import Connection

import numpy as np

from backends.axcl.decoder import AxclDecoder
from backends.emulator import Runtime
from gateway.chat.tokenizer import Tokenizer
from gateway.demo import CHECKPOINT
from gateway.engine import worker
from gateway.engine.engine import Engine

TEXT = "The quick brown fox jumps over the lazy dog and goes on to where the red circle is. "
LIKELY = 30.0

serve = worker._serve


def serve_idle(connection: Connection, engine: Engine) -> None:
    token_ids = Tokenizer.load(CHECKPOINT).encode(TEXT)
    logits = np.full((len(token_ids), engine._decoder.info.vocab_size), -LIKELY, np.float32)
    logits[np.arange(len(token_ids)), token_ids] = LIKELY
    said = cycle(logits)
    vars_of: list[tuple[type, str, object]] = [
        (AxclDecoder, "logits", lambda *_: next(said).copy()),
        (Runtime, "engine_execute", lambda *_: 0),
    ]
    for owner, name, idle in vars_of:
        setattr(owner, name, idle)
    serve(connection, engine)


if __name__ == "__main__":
    os.set_inheritable(int(sys.argv[1]), False)
    vars(worker)["_serve"] = serve_idle
    worker.main(int(sys.argv[1]))
