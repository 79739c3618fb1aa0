"""Base58Check: the text form of hashes and ids.

The text is the number that prefix, payload and checksum are together, big-endian, in
digits of base 58 (the alphabet leaves out ``0``, ``O``, ``I`` and ``l``).  The checksum
is the first 4 bytes of the double SHA-256 of prefix and payload.  Prefixes are chosen
so that all texts of one kind begin with the same letters and have the same length;
another length, prefix or checksum is an error.

Source: the base58 module of the reference node, 2019 and 2026.
"""

from __future__ import annotations

import hashlib
from typing import Final

import attrs

_ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DIGITS: Final = {char: value for value, char in enumerate(_ALPHABET)}
_CHECKSUM_SIZE: Final = 4


@attrs.frozen
class Base58Check:
    """The text form of one kind of value.

    Attributes:
        name: what the value is called.
        prefix: bytes in front of the payload, the first of them not 0.
        size: bytes of the payload.
        chars: characters of every text, derived.

    Raises:
        ValueError: with that prefix not all texts have the same length.
    """

    name: str
    prefix: bytes = attrs.field(repr=bytes.hex)
    size: int
    chars: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Find the one length that all texts have."""
        rest = self.size + _CHECKSUM_SIZE
        chars = len(_digits(self.prefix + bytes(rest)))
        if chars != len(_digits(self.prefix + b"\xff" * rest)):
            raise ValueError(f"prefix {self.prefix.hex()!r} gives texts of many lengths")
        object.__setattr__(self, "chars", chars)

    @property
    def an(self) -> str:
        """The name with its article."""
        return f"{'an' if self.name[0] in 'aeiou' else 'a'} {self.name}"

    def text(self, payload: bytes) -> str:
        """Return the text of a payload."""
        body = self.prefix + payload
        return _digits(body + _checksum(body))

    def parse(self, text: str) -> bytes:
        """Return the payload of a text.

        Raises:
            ValueError: wrong alphabet, length, prefix or checksum; says which.
        """
        if len(text) != self.chars:
            raise ValueError(
                f"{text[:40]!r} has {len(text)} characters, {self.an} {self.chars}"
            )
        number = 0
        for position, char in enumerate(text):
            digit = _DIGITS.get(char)
            if digit is None:
                raise ValueError(
                    f"{char!r} at position {position} of {text!r} is not Base58"
                )
            number = number * 58 + digit
        data = number.to_bytes(self.chars, "big")  # a digit is less than a byte
        head = len(data) - len(self.prefix) - self.size - _CHECKSUM_SIZE
        if data[: head + len(self.prefix)] != bytes(head) + self.prefix:
            raise ValueError(f"{text!r} does not begin as {self.an} does")
        body, checksum = data[head:-_CHECKSUM_SIZE], data[-_CHECKSUM_SIZE:]
        if _checksum(body) != checksum:
            raise ValueError(f"{text!r} has a wrong checksum: a mistyped {self.name}?")
        return body[len(self.prefix) :]


def _digits(data: bytes) -> str:
    number = int.from_bytes(data, "big")
    digits: list[str] = []
    while number:
        number, digit = divmod(number, 58)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def _checksum(data: bytes) -> bytes:
    digest = hashlib.sha256(hashlib.sha256(data).digest()).digest()
    return digest[:_CHECKSUM_SIZE]
