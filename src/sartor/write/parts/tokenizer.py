"""From text to token numbers and back, with special tokens that no text can spell."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, get_args

from sartor.errors import ConfigError, CorruptFile, EmptyData, MissingExtra
from sartor.write.backends.backend import check_messages, text_of

Kind = Literal["word", "bpe"]

PAD, END, SYSTEM, USER, ASSISTANT, SOFT = "<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|soft|>"
SPECIAL = (PAD, END, SYSTEM, USER, ASSISTANT, SOFT)
"""Filler; end of a message; who speaks next, three times; the place of a soft prefix's vector."""
ROLES = {"system": SYSTEM, "user": USER, "assistant": ASSISTANT}


class Tokenizer:
    """Words or byte pairs, learned from texts by the `tokenizers` library. Every text round-trips: what is no known piece is spelled in bytes.

    A space is put in front of every text and taken away again, so that a word is the same token wherever it stands. The special tokens are
    numbers only: a text that spells one is encoded as the characters it has, so that what people write can never close a message or change
    who speaks.

        tokens = Tokenizer.learn(texts, kind="word", vocabulary=1_000)
        tokens.decode(tokens.encode("Any text \\u2713")) == "Any text \\u2713"
    """

    def __init__(self, text: str) -> None:
        """From what `to_text` gave; raises `CorruptFile`."""
        try:
            self._inner: Any = _tokenizers().Tokenizer.from_str(text)
            self.special = {name: int(self._inner.token_to_id(name)) for name in SPECIAL}
        except MissingExtra:
            raise
        # The tokenizers library raises bare exceptions.
        except Exception as cause:
            raise CorruptFile("this is not a tokenizer of sartor's", fix="save it again") from cause
        # Without this the library would read a special token in a text that merely spells it.
        self._inner.encode_special_tokens = True
        self.pad, self.end, self.soft = self.special[PAD], self.special[END], self.special[SOFT]

    @classmethod
    def learn(cls, texts: Sequence[str], *, kind: Kind = "bpe", vocabulary: int = 2_000, min_frequency: int = 2, more: Sequence[str] = ()) -> Self:
        """Learn the pieces.

        Parameters
        ----------
        texts: what to learn from; raises `EmptyData` when none has content.
        kind: "bpe", byte pairs (Sennrich et al. 2016); "word", whole words with the space before them, the rest in bytes.
        vocabulary: tokens at most, special ones and the 256 bytes included.
        min_frequency: rarer pieces are not learned.
        more: further special tokens, e.g. a system's control tokens.
        """
        tokenizers = _tokenizers()
        if kind not in get_args(Kind):
            raise ConfigError(f"there is no kind of tokens '{kind}'", fix=f"use one of {', '.join(get_args(Kind))}")
        special = [*SPECIAL, *more]
        if vocabulary < 256 + len(special):
            raise ConfigError(f"a vocabulary of {vocabulary}", fix=f"use at least {256 + len(special)}: the bytes and the special tokens")
        if not any(text.strip() for text in texts):
            raise EmptyData("there is no text to learn tokens from", fix="give texts")
        pieces = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
        if kind == "word":
            made = tokenizers.Tokenizer(_words(texts, pieces, [*special, *alphabet], vocabulary, min_frequency))
        else:
            made = tokenizers.Tokenizer(tokenizers.models.BPE())
        made.normalizer, made.pre_tokenizer = tokenizers.normalizers.Prepend(" "), pieces
        made.decoder = tokenizers.decoders.Sequence([tokenizers.decoders.ByteLevel(), tokenizers.decoders.Strip(" ", 1, 0)])
        if kind == "bpe":
            trainer = tokenizers.trainers.BpeTrainer(
                vocab_size=vocabulary, initial_alphabet=alphabet, special_tokens=special, min_frequency=min_frequency, show_progress=False
            )
            made.train_from_iterator(texts, trainer)
        made.add_special_tokens([tokenizers.AddedToken(name, special=True, normalized=False) for name in special])
        return cls(made.to_str())

    def __len__(self) -> int:
        """How many tokens there are."""
        return int(self._inner.get_vocab_size())

    def number(self, token: str) -> int:
        """Of a special token or a known piece; raises `ConfigError`."""
        found = self._inner.token_to_id(token)
        if found is None:
            raise ConfigError(f"there is no token '{token}'", fix="name it among `more` when the tokenizer is learned")
        return int(found)

    def encode(self, text: str) -> list[int]:
        """Token numbers of one text, without any special token."""
        return list(self._inner.encode(sound(text), add_special_tokens=False).ids)

    def encode_all(self, texts: Sequence[str]) -> list[list[int]]:
        """The same for many."""
        return [list(one.ids) for one in self._inner.encode_batch([sound(text) for text in texts], add_special_tokens=False)]

    def encode_words(self, texts: Sequence[str]) -> list[tuple[list[int], list[bool]]]:
        """Token numbers of many texts, and which of them begin a word: what is no known piece has several tokens."""
        made = self._inner.encode_batch([sound(text) for text in texts], add_special_tokens=False)
        return [(list(one.ids), [at == 0 or word != one.word_ids[at - 1] for at, word in enumerate(one.word_ids)]) for one in made]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of token numbers; special tokens are left out."""
        return str(self._inner.decode(list(ids), skip_special_tokens=True))

    def message(self, role: str, text: str) -> list[int]:
        """One message: who speaks, the words, the end."""
        if role not in ROLES:
            raise ConfigError(f"there is no role '{role}'", fix=f"use one of {', '.join(ROLES)}")
        return [self.special[ROLES[role]], *self.encode(text), self.end]

    def chat(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        """A conversation of {role, content}, and the assistant's turn: a prompt to go on from. Raises `BadValue` for messages that are none."""
        check_messages(messages)
        return [number for one in messages for number in self.message(one["role"], text_of(one))] + [self.special[ASSISTANT]]

    def to_text(self) -> str:
        """The tokenizer as the `tokenizers` library's JSON."""
        return str(self._inner.to_str())

    def template(self) -> str:
        """`chat` as the Jinja template that transformers' tokenizers use."""
        roles = json.dumps(ROLES)
        return (
            "{%- set roles = " + roles + " -%}{%- for m in messages -%}{{ roles[m['role']] }}{{ m['content'] }}" + END + "{%- endfor -%}"
            "{%- if add_generation_prompt -%}" + ASSISTANT + "{%- endif -%}"
        )  # fmt: skip


def _words(texts: Sequence[str], pieces: Any, first: Sequence[str], vocabulary: int, min_frequency: int) -> Any:
    """Byte pairs without a single merge, except that whole words are taken as they are: word tokens that fall back to bytes."""
    counts = Counter(piece for text in texts for piece, _ in pieces.pre_tokenize_str(f" {text}"))
    known = set(first)
    words = [word for word, count in sorted(counts.items(), key=lambda one: (-one[1], one[0])) if count >= min_frequency and word not in known]
    every = [*first, *words][:vocabulary]
    return _tokenizers().models.BPE(vocab={piece: number for number, piece in enumerate(every)}, merges=[], ignore_merges=True)


def sound(text: str) -> str:
    """Half surrogate pairs, which no file can hold, become the replacement character."""
    return text.encode("utf-8", "replace").decode() if any("\ud800" <= one <= "\udfff" for one in text) else text


def _tokenizers() -> Any:
    try:
        import tokenizers
    except ImportError as missing:
        raise MissingExtra("tokenizers", "write") from missing
    return tokenizers
