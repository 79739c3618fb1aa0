"""Which network a node belongs to, which protocol versions it speaks, and agreement.

The version triple, last part of a connection message:

======  ====  ======================  ==================================================
offset  size  field                   meaning
======  ====  ======================  ==================================================
0       4     chain_name length n     uint30
4       n     chain_name              network name; any bytes, compared byte by byte
4 + n   2     distributed_db_version  greatest that the sender supports
6 + n   2     p2p_version             greatest that the sender supports
======  ====  ======================  ==================================================

Agreement, from each side's own point of view: chain names must be equal.  For each
of the two versions, with ``best`` the greatest of our own and ``r`` the remote's: if
best <= r, best; else r if it is one of ours; else none.  The first failure in the
order chain name, distributed db, p2p names the motive of the refusal.

Nodes of 2026 support distributed-db versions 0, 1, 2 and p2p versions 0, 1; nodes of
2019 only 0 and 0, and they accept a remote that announces more.

Source: the network-version and p2p-version modules of the reference node, 2019 and
2026; a running node of 2019.
"""

from __future__ import annotations

import functools
from typing import Final

import attrs

from .binary import UINT16
from .blocks import BYTES, Mapped
from .motive import Motive
from .record import Field, Record


def _load_name(raw: bytes) -> str:
    # The protocol does not care for the charset.  Latin-1 keeps every byte, costs
    # nothing (a name of 65 000 bytes comes before any proof of work) and makes no
    # text that cannot be printed.
    return raw.decode("latin-1")


def _dump_name(name: str) -> bytes:
    return name.encode("latin-1")


CHAIN_NAME: Final = Mapped("chain name", BYTES, _load_name, _dump_name)


@attrs.frozen
class Version:
    """The triple that a node announces.

    Attributes:
        chain_name: name of the network, one character per byte (Latin-1).
        distributed_db_version: 0 to 65535.
        p2p_version: 0 to 65535.
    """

    chain_name: str
    distributed_db_version: int
    p2p_version: int


VERSION: Final = Record(
    Version,
    "version",
    Field("chain_name", CHAIN_NAME, "network name, compared byte by byte"),
    Field("distributed_db_version", UINT16, "greatest supported by the sender"),
    Field("p2p_version", UINT16, "greatest supported by the sender"),
)


def select(ours: tuple[int, ...], theirs: int) -> int | None:
    """Return the version to use with a remote that announces ``theirs``, or None."""
    best = max(ours)
    if best <= theirs:
        return best
    return theirs if theirs in ours else None


@functools.lru_cache(64)
def _agreed(chain_name: str, ddb: int, p2p: int) -> Version:
    """Make a triple once: thousands of connections agree on the same few."""
    return Version(chain_name, ddb, p2p)


@attrs.frozen
class Network:
    """A network and the versions that we support on it.

    Attributes:
        chain_name: must equal the remote's.
        distributed_db_versions: one or more of 0 to 65535, any order.
        p2p_versions: one or more of 0 to 65535, any order.

    Raises:
        ValueError: a list of versions is empty or leaves 0..65535.
    """

    chain_name: str
    distributed_db_versions: tuple[int, ...] = attrs.field(
        default=(0, 1, 2), converter=tuple[int, ...]
    )
    p2p_versions: tuple[int, ...] = attrs.field(default=(0, 1), converter=tuple[int, ...])

    def __attrs_post_init__(self) -> None:
        """Check the lists: an empty one could agree with nobody."""
        for versions in (self.distributed_db_versions, self.p2p_versions):
            legal = all(type(v) is int and 0 <= v <= 0xFFFF for v in versions)
            if not versions or not legal:
                raise ValueError(f"versions must be one or more of 0..65535: {versions}")

    @property
    def announced(self) -> Version:
        """The triple to put in our connection message."""
        ddb, p2p = max(self.distributed_db_versions), max(self.p2p_versions)
        return Version(self.chain_name, ddb, p2p)

    def negotiate(self, remote: Version) -> Version | Motive:
        """Return the triple to use with a remote, or the motive to refuse it with."""
        if remote.chain_name != self.chain_name:
            return Motive.UNKNOWN_CHAIN_NAME
        ddb = select(self.distributed_db_versions, remote.distributed_db_version)
        if ddb is None:
            return Motive.DEPRECATED_DISTRIBUTED_DB_VERSION
        p2p = select(self.p2p_versions, remote.p2p_version)
        if p2p is None:
            return Motive.DEPRECATED_P2P_VERSION
        return _agreed(self.chain_name, ddb, p2p)

    @property
    def sandboxed(self) -> Network:
        """The same versions under the name that a node in sandbox mode announces."""
        if self.chain_name.startswith("SANDBOXED_"):
            return self
        name = "TEZOS_MAINNET" if self.chain_name == "TEZOS_MAINNET" else "TEZOS"
        return attrs.evolve(self, chain_name="SANDBOXED_" + name)


#: The main network.
MAINNET: Final = Network("TEZOS_MAINNET")
#: A test network, named after a past protocol.
GHOSTNET: Final = Network("TEZOS_ITHACANET_2022-01-25T15:00:00Z")
#: A test network.
SHADOWNET: Final = Network("TEZOS_SHADOWNET_2025-08-07T20:00:00Z")
#: The reference's own sandbox network; also the name that every node of 2019 announces.
SANDBOX: Final = Network("TEZOS")

#: The built-in networks by the names that commands accept.
NETWORKS: Final = {
    "mainnet": MAINNET,
    "ghostnet": GHOSTNET,
    "shadownet": SHADOWNET,
    "sandbox": SANDBOX,
}
