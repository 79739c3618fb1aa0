"""What a careful hand writes for asyncio with public calls: the stream of chunks itself.

A `BufferedProtocol` that opens chunks where they were read, writes of about 64 KiB, one
chunk for each message, and nothing else: no handshake, no queue, no limits, no timers.
"""

import asyncio
import struct

from nacl.bindings import crypto_box_afternm, crypto_box_open_afternm

KEY = bytes(range(32))
READ_SIZE, WRITE_SIZE = 1 << 18, 1 << 16
_U16 = struct.Struct(">H")


class Receiver(asyncio.BufferedProtocol):
    """Calls a function with every message."""

    def __init__(self, on_message):
        self.on_message = on_message
        self.buffer = memoryview(bytearray(READ_SIZE))
        self.kept = 0
        self.nonce = 0

    def get_buffer(self, sizehint):
        return self.buffer[self.kept :]

    def buffer_updated(self, nbytes):
        buffer, at, end = self.buffer, 0, self.kept + nbytes
        while end - at >= 2:
            stop = at + 2 + (buffer[at] << 8 | buffer[at + 1])
            if stop > end:
                break
            nonce = self.nonce.to_bytes(24, "big")
            self.nonce += 1
            self.on_message(crypto_box_open_afternm(buffer[at + 2 : stop], nonce, KEY))
            at = stop
        self.kept = end - at
        buffer[: self.kept] = bytes(buffer[at:end])


class Sender(asyncio.Protocol):
    """Sends one message again and again."""

    def __init__(self):
        self.nonce = 0
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    def connection_made(self, transport):
        self.transport = transport

    def pause_writing(self):
        self.goes_on.clear()

    def resume_writing(self):
        self.goes_on.set()

    async def send(self, message, count):
        pieces, size = [], 0
        for _ in range(count):
            nonce = self.nonce.to_bytes(24, "big")
            self.nonce += 1
            body = crypto_box_afternm(message, nonce, KEY)
            pieces += _U16.pack(len(body)), body
            size += 2 + len(body)
            if size >= WRITE_SIZE:
                self.transport.write(b"".join(pieces))
                pieces, size = [], 0
                await self.goes_on.wait()
        self.transport.write(b"".join(pieces))
        await self.goes_on.wait()
