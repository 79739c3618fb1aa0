"""A connection that is nothing but what asyncio makes of it, and a bare protocol."""

import asyncio


class Bare(asyncio.Protocol):
    def __init__(self, on_made):
        self.on_made = on_made

    def connection_made(self, transport):
        self.transport = transport
        self.on_made(self)
