"""What everybody writes first: asyncio streams, chunk by chunk."""

from nacl.bindings import crypto_box_afternm, crypto_box_open_afternm

KEY = bytes(range(32))


async def receive(reader, first, count):
    for number in range(first, first + count):
        size = int.from_bytes(await reader.readexactly(2), "big")
        body = await reader.readexactly(size)
        crypto_box_open_afternm(body, number.to_bytes(24, "big"), KEY)


async def send(writer, message, first, count):
    for number in range(first, first + count):
        body = crypto_box_afternm(message, number.to_bytes(24, "big"), KEY)
        writer.write(len(body).to_bytes(2, "big") + body)
        await writer.drain()
