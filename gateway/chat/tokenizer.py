"""Text <-> token ids, by the tokenizer that comes with the model."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import tokenizers

from backends.base import PackageError
from gateway.chat.folder import read_json

# The names special tokens go by in tokenizer_config.json, and under which chat templates know them.
SPECIAL_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")

# Byte-level BPE writes each byte as one letter: the printable ones of Latin-1 as themselves, the others in
# order from U+0100 on (openai/gpt-2, encoder.py, bytes_to_unicode).
_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(0x100) if byte not in _PRINTABLE]
_BYTES = {chr(byte): byte for byte in _PRINTABLE} | {chr(0x100 + n): byte for n, byte in enumerate(_OTHERS)}
# SentencePiece writes a blank as this letter, and a byte that is in no token as <0x00> to <0xFF>.
_BLANK = "\u2581"
_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
# Parts a text where no token may reach across; a noncharacter, which Unicode sets aside for such uses within
# a program and which means nothing in a text.
_BREAK = "\ufdd0"


class Tokenizer:
    """The tokenizer.json of a folder. Special tokens written in a text are parsed as such, unless it went
    through `plain`; none is added."""

    def __init__(self, tokenizer: tokenizers.Tokenizer, special_tokens: Mapping[str, str]) -> None:
        self._tokenizer = tokenizer
        self._byte_level = isinstance(tokenizer.decoder, tokenizers.decoders.ByteLevel)
        self._added = tokenizer.get_added_tokens_decoder()
        special = [token.content for token in self._added.values() if token.special]
        self._special = tuple(special)
        self._begun = _begun(self._special)
        self._longest = max(map(len, tokenizer.get_vocab(with_added_tokens=True)))
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
        if not tokenizer.get_vocab_size():
            raise PackageError(f"{path}: expected a Hugging Face tokenizer: this one has no tokens")
        tokenizer.no_padding()
        tokenizer.no_truncation()
        config = read_json(folder / "tokenizer_config.json")
        named = {name: _content(config.get(name)) for name in SPECIAL_TOKENS}
        return cls(tokenizer, {name: token for name, token in named.items() if token is not None})

    def plain(self, text: str, *markers: str) -> str:
        """A text by somebody who must not write special tokens, such as the end of a turn, nor any of
        `markers`: where it spells one, or ends in what the text behind it could make one, it is broken, and
        `encode` will read letters."""
        for token in (*self._special, *markers):
            text = text.replace(token, f"{token[0]}{_BREAK}{token[1:]}")
        return text + _BREAK if text.endswith((*self._begun, *_begun(markers))) else text

    def encode(self, text: str) -> list[int]:
        # Only batches let other threads run meanwhile (tokenizers 0.23).
        pieces = self._tokenizer.encode_batch(text.split(_BREAK), add_special_tokens=False)
        return [token_id for piece in pieces for token_id in piece.ids]

    def least(self, text: str) -> int:
        """How many tokens a text has at least, at next to no cost: no token is longer than the longest. (A
        normalizer may shorten a text, but not what is made of tokens as long as that.)"""
        # In a byte-level vocabulary a letter is a byte.
        size = sum(len(part.encode()) if self._byte_level else len(part) for part in text.split(_BREAK))
        return -(-size // self._longest)

    def decode(self, token_ids: Sequence[int]) -> str:
        """Without special tokens; bytes that are no UTF-8 become U+FFFD."""
        return self._tokenizer.decode(token_ids, skip_special_tokens=True)

    def decode_all(self, token_ids: Sequence[int]) -> str:
        """The same with special tokens, each as it is written."""
        return self._tokenizer.decode(token_ids, skip_special_tokens=False)

    def has(self, token_id: int) -> bool:
        """Whether there is such a token."""
        return 0 <= token_id < 2**32 and self._tokenizer.id_to_token(token_id) is not None

    def token_bytes(self, token_id: int) -> bytes | None:
        """What exactly this token adds to a text, which may be a part of a character; None for a special
        token and for an id without a token, which add nothing."""
        token = self._tokenizer.id_to_token(token_id)
        added = self._added.get(token_id)
        if token is None or (added and added.special):
            return None
        if self._byte_level:
            # An added token may have letters that stand for no byte.
            known = all(letter in _BYTES for letter in token)
            return bytes(_BYTES[letter] for letter in token) if known else token.encode()
        byte = _BYTE_TOKEN.fullmatch(token)
        return bytes.fromhex(byte[1]) if byte else token.replace(_BLANK, " ").encode()

    def token_text(self, token_id: int) -> str:
        """A token for people: a special one by its name, a part of a character as U+FFFD."""
        data = self.token_bytes(token_id)
        if data is None:
            return self._tokenizer.id_to_token(token_id) or ""
        return data.decode(errors="replace")

    def special_in(self, text: str) -> dict[int, str]:
        """The special tokens that a text spells, by their ids."""
        return {
            token_id: token.content
            for token_id, token in self._added.items()
            if token.special and token.content in text
        }

    def token_id(self, token: str) -> int | None:
        """The id of exactly this token, if there is one."""
        return self._tokenizer.token_to_id(token)


@lru_cache(16)
def _begun(tokens: tuple[str, ...]) -> tuple[str, ...]:
    """All that they can begin with."""
    return tuple({token[:size] for token in tokens for size in range(1, len(token))})


def _content(token: object) -> str | None:
    # A token is written as a string or, in older files, as an object that also says how to strip around it.
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else None
