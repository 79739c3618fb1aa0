"""Every message a chunk of its own, sealed and opened: what joining has to beat."""

from nacl.bindings import crypto_box_afternm, crypto_box_open_afternm

KEY = bytes(range(32))


def seal_and_open_each(message: bytes, count: int) -> None:
    for number in range(count):
        nonce = number.to_bytes(24, "big")
        body = crypto_box_afternm(message, nonce, KEY)
        crypto_box_open_afternm(body, number.to_bytes(24, "big"), KEY)
