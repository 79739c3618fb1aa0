"""A message there and back over asyncio, awaited: two bare protocols in one loop."""

import asyncio

from nacl.bindings import crypto_box_afternm, crypto_box_open_afternm

KEY = bytes(range(32))


class End(asyncio.Protocol):
    def __init__(self, echoes):
        self.echoes = echoes
        self.sent = self.received = 0
        self.answer = None

    def connection_made(self, transport):
        self.transport = transport

    def send(self, message):
        nonce = self.sent.to_bytes(24, "big")
        self.sent += 1
        self.transport.write(crypto_box_afternm(message, nonce, KEY))

    def data_received(self, data):
        nonce = self.received.to_bytes(24, "big")
        self.received += 1
        message = crypto_box_open_afternm(data, nonce, KEY)
        if self.echoes:
            self.send(message)
        else:
            self.answer.set_result(message)


async def open_pair(host):
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: End(True), host, 0)
    where = server.sockets[0].getsockname()
    _, near = await loop.create_connection(lambda: End(False), *where)
    server.close()
    return near


async def round_trips(near, message, count):
    for _ in range(count):
        near.answer = asyncio.get_running_loop().create_future()
        near.send(message)
        await near.answer
