"""A proof of work searched the plain way: hash it all, make an integer, compare."""

import hashlib


def search(public_key: bytes, target: int, first: int, tries: int) -> bytes | None:
    for number in range(first, first + tries):
        stamp = number.to_bytes(24, "big")
        digest = hashlib.blake2b(public_key + stamp, digest_size=32).digest()
        if int.from_bytes(digest, "little") <= target:
            return stamp
    return None
