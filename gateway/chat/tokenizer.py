"""Text <-> token ids, by the tokenizer that comes with the model."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import tokenizers

from backends.base import PackageError
from gateway.chat.folder import read_json

# The names special tokens go by in tokenizer_config.json, and under which chat templates know them.
SPECIAL_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")


class Tokenizer:
    """The tokenizer.json of a folder. Special tokens written in a text are parsed as such; none is added."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, special_tokens: Mapping[str, str]) -> None:
        self._tokenizer = tokenizer
        self.special_tokens = special_tokens

    @classmethod
    def load(cls, folder: Path) -> "Tokenizer":
        """Raises PackageError naming the file."""
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise PackageError(f"{path}: not there; expected a Hugging Face tokenizer")
        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing more precise
            raise PackageError(f"{path}: expected a Hugging Face tokenizer: {error}") from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        config = read_json(folder / "tokenizer_config.json")
        named = {name: _content(config.get(name)) for name in SPECIAL_TOKENS}
        return cls(tokenizer, {name: token for name, token in named.items() if token is not None})

    @property
    def vocab_size(self) -> int:
        return self._tokenizer.get_vocab_size(with_added_tokens=True)

    def encode(self, text: str) -> list[int]:
        # A batch of one: only batches let other threads run meanwhile (tokenizers 0.23).
        return self._tokenizer.encode_batch([text], add_special_tokens=False)[0].ids

    def decode(self, token_ids: Sequence[int]) -> str:
        """Without special tokens; bytes that are no UTF-8 become U+FFFD."""
        return self._tokenizer.decode(token_ids, skip_special_tokens=True)

    def token_id(self, token: str) -> int | None:
        """The id of exactly this token, if there is one."""
        return self._tokenizer.token_to_id(token)


def _content(token: object) -> str | None:
    # A token is written as a string or, in older files, as an object that also says how to strip around it.
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else None
