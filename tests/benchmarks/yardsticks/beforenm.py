"""The key agreement alone: what a handshake cannot do without, once on each side."""

from nacl.bindings import crypto_box_beforenm, crypto_box_keypair

PUBLIC_KEY, _ = crypto_box_keypair()
_, SECRET_KEY = crypto_box_keypair()


def agree() -> bytes:
    return crypto_box_beforenm(PUBLIC_KEY, SECRET_KEY)


def agree_twice() -> None:
    crypto_box_beforenm(PUBLIC_KEY, SECRET_KEY)
    crypto_box_beforenm(PUBLIC_KEY, SECRET_KEY)
