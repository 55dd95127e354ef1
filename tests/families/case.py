"""What is checked of every vision family, and how a family is added.

A family is one file, `<family>.py` in this folder, that ends in `CASES: dict[str, FamilyCase]`, and one line
in cases.py. It says how to write a tiny random checkpoint as the family's published ones are (`write` of
tests/export/checkpoints.py draws the weights and writes config.json; `write_tokenizer` the tokenizer), which
entry of vision_models.json its packages would have, and, in a `Reference`, how transformers is asked: its
processor with the `*Pil` image processor, and its model. internvl.py shows how it looks. Then

    python -m scripts.golden.families --find NAME    prints a seed, to be put into the case
    python -m scripts.golden.families NAME           writes golden/NAME.npz

and test_families.py checks pixels, prompts, features, logits and greedy tokens of all cases; with `-m parity`
also that the golden files are what transformers says today. A name is a file's name: no blanks, no slashes.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from backends.base import Array, TensorSpec
from backends.export import ExportOptions
from gateway.chat.content import Message, TextPart

Inputs = dict[str, Any]
"""What a transformers model takes: torch tensors by name."""


class Reference(ABC):
    """transformers' side of a family; torch and transformers are imported inside the methods.

    `folder` is always that of the case's checkpoint.
    """

    @abstractmethod
    def runs(self, folder: Path, picture: Image.Image, graph_input: TensorSpec) -> Sequence[Array]:
        """What each run of the vision graph for this picture takes, in dtype and shape of `graph_input`."""

    @abstractmethod
    def inputs(self, folder: Path, text: str, pictures: Sequence[Image.Image]) -> Inputs:
        """What the processor makes of a rendered text and its pictures: input_ids (1, n) and all that the
        model needs for the pictures; position_ids only where they are not 0, 1, 2, …"""

    @abstractmethod
    def features(self, model: Any, inputs: Inputs) -> Any:
        """(num_tokens, hidden) tensor of all pictures, in order."""

    def model(self, folder: Path) -> Any:
        import torch
        from transformers import AutoModelForImageTextToText

        return AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()

    def decoder(self, model: Any) -> Any:
        """The language model without its head; it has `layers`."""
        return model.model.language_model

    def tokenizer(self, folder: Path) -> Any:
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast.from_pretrained(folder)

    def text(self, folder: Path, messages: Sequence[Message]) -> str:
        """The conversation as the chat template writes it."""
        told = [
            {
                "role": message.role,
                "content": [
                    {"type": "text", "text": part.text} if isinstance(part, TextPart) else {"type": "image"}
                    for part in message.content
                ],
            }
            for message in messages
        ]
        rendered = self.tokenizer(folder).apply_chat_template(
            told, tokenize=False, add_generation_prompt=True
        )
        return str(rendered)


@dataclass(frozen=True)
class FamilyCase:
    """One kind of package of a family.

    entry:            as in vision_models.json
    write_checkpoint: folder that does not exist yet, seed -> all its files, tokenizer and template included
    options:          of the export; prefill_len and histories are set by the tests
    pictures:         widths and heights of those that the whole path is asked about
    seed:             of the weights, such that the greedy answer is well defined
    """

    entry: Mapping[str, Any]
    write_checkpoint: Callable[[Path, int], None]
    reference: Reference
    options: ExportOptions
    pictures: tuple[tuple[int, int], ...] = ((50, 40),)
    seed: int = 0
