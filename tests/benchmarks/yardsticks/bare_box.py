"""The cipher alone: seal and open one chunk with the public calls of PyNaCl."""

from nacl.bindings import crypto_box_afternm, crypto_box_open_afternm


def seal_and_open(plaintext: bytes, nonce: bytes, key: bytes) -> bytes:
    return crypto_box_open_afternm(crypto_box_afternm(plaintext, nonce, key), nonce, key)
