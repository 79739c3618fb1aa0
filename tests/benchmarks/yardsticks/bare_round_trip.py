"""A message there and back over blocking sockets: seal, send, receive, open, twice."""

import socket

from nacl.bindings import crypto_box_afternm, crypto_box_open_afternm

KEY = bytes(range(32))
BUFFER = memoryview(bytearray(4096))


def hop(message: bytes, number: int, here: socket.socket, there: socket.socket) -> bytes:
    here.sendall(crypto_box_afternm(message, number.to_bytes(24, "big"), KEY))
    size = there.recv_into(BUFFER)
    nonce = number.to_bytes(24, "big")
    return crypto_box_open_afternm(BUFFER[:size], nonce, KEY)


def round_trips(
    message: bytes, count: int, near: socket.socket, far: socket.socket
) -> None:
    for number in range(count):
        hop(hop(message, number, near, far), number, far, near)
