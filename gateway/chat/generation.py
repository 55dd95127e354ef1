"""How the model's makers want it sampled, and where it stops: generation_config.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from backends.base import PackageError
from gateway.chat.folder import read_json
from gateway.chat.tokenizer import Tokenizer

SAMPLING = ("do_sample", "temperature", "top_k", "top_p", "min_p", "repetition_penalty")

MOST = 1e6
"""More than any of them means; a top_k may be as large as a vocabulary."""

# Ends of a turn in the families served here. Some files list only one of those their template writes.
END_TOKENS = ("<|im_end|>", "<|endoftext|>", "<end_of_utterance>")


@dataclass(frozen=True, slots=True)
class GenerationDefaults:
    """What a request that says nothing gets; the meanings are those of SamplingParams."""

    stop_token_ids: frozenset[int]
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0

    @classmethod
    def load(cls, folder: Path, tokenizer: Tokenizer, otherwise: Mapping[str, float]) -> "GenerationDefaults":
        """Of a tokenizer folder; stop tokens are those the file lists and those the tokenizer knows by name.
        Where the file says nothing of sampling, `otherwise` does, whose names are those of the fields here.
        Raises PackageError naming the file and the field."""
        path = folder / "generation_config.json"
        config = read_json(path)
        if not any(name in config for name in SAMPLING):
            config |= otherwise

        def number(name: str, default: float, most: float = MOST) -> float:
            value = config.get(name)
            if value is None:
                return default
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
                raise PackageError(f"{path}: {name}: expected a number from 0 to {most:g}, found {value!r}")
            return value

        listed = config.get("eos_token_id", [])
        stop_ids = listed if isinstance(listed, list) else [listed]
        if not all(isinstance(token_id, int) for token_id in stop_ids):
            raise PackageError(f"{path}: eos_token_id: expected an id or a list of ids, found {listed!r}")
        named = [
            tokenizer.token_id(token)
            for token in (*END_TOKENS, tokenizer.special_tokens.get("eos_token", ""))
        ]
        return cls(
            stop_token_ids=frozenset([*stop_ids, *(token_id for token_id in named if token_id is not None)]),
            # A file says "greedy" by do_sample false; one that says nothing leaves it to OpenAI's defaults.
            temperature=number("temperature", 1.0) if config.get("do_sample", True) else 0.0,
            top_k=int(number("top_k", 0)),
            top_p=number("top_p", 1.0, most=1),
            min_p=number("min_p", 0.0, most=1),
            repetition_penalty=number("repetition_penalty", 1.0) or 1.0,
        )
