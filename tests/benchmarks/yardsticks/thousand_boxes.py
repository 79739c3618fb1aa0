"""Sealing a thousand small messages, and nothing else."""

from nacl.bindings import crypto_box_afternm

MESSAGES = 1000
_KEY, _NONCE, _MESSAGE = bytes(range(32)), bytes(24), bytes(100)


def seal_all():
    for _ in range(MESSAGES):
        crypto_box_afternm(_MESSAGE, _NONCE, _KEY)
