"""Vectors of whole handshakes: nonces, shared keys, boxes, frames and chunks.

Origins, as each constant repeats:

- *TezEdge*: fixtures and a recorded session of the TezEdge node (Rust), 2019 to 2022.
- *reference node of May 2019*: values printed by its peer-to-peer library when run.
- *self-made*: computed once with PyNaCl and hashlib by the rules of the protocol, for
  two peers with trivial keys; they test consistency where no other origin exists.

`frame` means the bytes on the wire with the 2-byte length; `incoming` is told from the
point of view of the side whose nonces are given: True when it accepted the connection.
"""

from __future__ import annotations

from typing import NamedTuple

_hex = bytes.fromhex


class Nonces(NamedTuple):
    """Two connection frames, length included, and the first nonces of the sender."""

    incoming: bool
    sent: bytes
    received: bytes
    local: bytes
    remote: bytes


class SharedKey(NamedTuple):
    """A key agreement: one side's secret key, the other's public key, the result."""

    public_key: bytes
    secret_key: bytes
    shared_key: bytes


class Chunk(NamedTuple):
    """One encrypted chunk; the frame is length, tag and ciphertext."""

    shared_key: bytes
    nonce: bytes
    plaintext: bytes
    frame: bytes


class Keys(NamedTuple):
    """A node's identity as its file holds it, and the text of its peer id."""

    peer_id: str
    public_key: bytes
    secret_key: bytes
    stamp: bytes


class Exchange(NamedTuple):
    """One encrypted chunk of a session, in one direction."""

    frame: bytes
    plaintext: bytes


class Side(NamedTuple):
    """What one side of a handshake sends, chunk by chunk, and how it starts."""

    connection: bytes
    first_nonce: bytes
    metadata: Exchange
    ack: Exchange
    message: Exchange


# -- nonces ----------------------------------------------------------------------------

#: TezEdge, unit tests of its nonce module: the frame that one side sent.
TEZEDGE_NONCE_SENT = _hex(
    "00874d1b98317bd6efad8352a7144c9eb0b218c9130e0a875973908ddc894b764ffc0d7f176c"
    "f800b978af9e919bdc35122585168475096d0ebcaca1f2a1172412b91b363ff484d1c64c0341"
    "7e0e755e696c386a0000002d53414e44424f5845445f54455a4f535f414c5048414e45545f32"
    "3031382d31312d33305431353a33303a35365a00000000"
)
#: TezEdge, same tests: the frame that it received.
TEZEDGE_NONCE_RECEIVED = _hex(
    "00874d1ab3845960b32b039fef38ca5c9f8f867df1d522f27a83e07d9dfbe3b296a6c076412d"
    "98b369ab015d57247e5380d708b9edfcca0ca2c865346ef9c3d7ed00182cf4f613a6303c9b2a"
    "28cda8ff93687bd20000002d53414e44424f5845445f54455a4f535f414c5048414e45545f32"
    "3031382d31312d33305431353a33303a35365a00000000"
)
#: TezEdge, same tests: the same frames seen from both sides.
NONCES_TEZEDGE = (
    Nonces(
        False,
        TEZEDGE_NONCE_SENT,
        TEZEDGE_NONCE_RECEIVED,
        _hex("8dde158c55cff52f4be9352787d333e616a67853640d72c5"),
        _hex("e67481a23cf9b404626a12bd405066e161b32dc53f469153"),
    ),
    Nonces(
        True,
        TEZEDGE_NONCE_SENT,
        TEZEDGE_NONCE_RECEIVED,
        _hex("ff0451d94af9f75a46d74a2a9f685cff20222a15829f121d"),
        _hex("8a09a2c43a61aa6eccee084aa66da9bc94b441b17615be58"),
    ),
)
#: Reference node of May 2019: connection frame of its first peer (chain TEZOS).
NODE_2019_FRAME_A = _hex(
    "005f2604ebc28ea052c65fac7e43b97dcf2077de4ba21277d0323b971d7d56e83204225c0000"
    "0000000000000000000000000000000000000000000040c9c8b074357aa0e694fdd22346ebaa"
    "bbc5f556fa80069f0000000554455a4f5300000000"
)
#: Reference node of May 2019: of its second peer (chain SANDBOXED_TEZOS, no port).
NODE_2019_FRAME_B = _hex(
    "00690000c5c53093d7a610bba4f4012c389d6766b56490229663be35b03239c36328d64c0000"
    "0000000000000000000000000000000000000000007a692cbd7b544156aeaecb0c53229e2dcc"
    "57950e3831d57ce40000000f53414e44424f5845445f54455a4f5300000000"
)
#: Reference node of May 2019: nonces of both frames, from all four points of view.
NONCES_2019 = (
    Nonces(
        False,
        NODE_2019_FRAME_A,
        NODE_2019_FRAME_B,
        _hex("68e6b6f64b52a50e11b0c7b021f1276f4014393184f691f5"),
        _hex("cad05b195c263f7a5cdc38e53f8f6e388d6ee1e8f62f1a16"),
    ),
    Nonces(
        True,
        NODE_2019_FRAME_B,
        NODE_2019_FRAME_A,
        _hex("cad05b195c263f7a5cdc38e53f8f6e388d6ee1e8f62f1a16"),
        _hex("68e6b6f64b52a50e11b0c7b021f1276f4014393184f691f5"),
    ),
    Nonces(
        True,
        NODE_2019_FRAME_A,
        NODE_2019_FRAME_B,
        _hex("6d055206592aa1562c63296968dca1d462f5a7d50026741b"),
        _hex("b23c595467fc2250fb06e9fcb0987065ea284feb67dda2b2"),
    ),
    Nonces(
        False,
        NODE_2019_FRAME_B,
        NODE_2019_FRAME_A,
        _hex("b23c595467fc2250fb06e9fcb0987065ea284feb67dda2b2"),
        _hex("6d055206592aa1562c63296968dca1d462f5a7d50026741b"),
    ),
)
#: All of them.
NONCES = NONCES_TEZEDGE + NONCES_2019

#: Nonce, and the one that follows it: TezEdge first, then reference node of May 2019.
NONCE_INCREMENTS = (
    (
        _hex("0000000000cff52f4be9352787d333e616a67853640d72c5"),
        _hex("0000000000cff52f4be9352787d333e616a67853640d72c6"),
    ),
    (
        _hex("ffffffffffffffffffffffffffffffffffffffffffffffff"),
        _hex("000000000000000000000000000000000000000000000000"),
    ),
    (
        _hex("000000000000000000000000000000000000000000000000"),
        _hex("000000000000000000000000000000000000000000000001"),
    ),
    (
        _hex("0000000000000000000000000000000000000000000000ff"),
        _hex("000000000000000000000000000000000000000000000100"),
    ),
    (
        _hex("00000000000000000000000000000000000000000000ffff"),
        _hex("000000000000000000000000000000000000000000010000"),
    ),
)
#: Nonce, and the 65 537th after it (reference node of May 2019).
NONCE_PLUS_65537 = (
    (
        _hex("000000000000000000000000000000000000000000000000"),
        _hex("000000000000000000000000000000000000000000010001"),
    ),
    (
        _hex("0000000000000000000000000000000000000000000000ff"),
        _hex("000000000000000000000000000000000000000000010100"),
    ),
    (
        _hex("00000000000000000000000000000000000000000000ffff"),
        _hex("000000000000000000000000000000000000000000020000"),
    ),
)

# -- keys and boxes --------------------------------------------------------------------

#: TezEdge, unit tests of its crypto-box module.
SHARED_KEY_TEZEDGE = SharedKey(
    _hex("96678b88756dd6cfd6c129980247b70a6e44da77823c3672a2ec0eae870d8646"),
    _hex("a18dc11cb480ebd31081e1541df8bd70c57da0fa419b5036242f8619d605e75a"),
    _hex("5228751a6f5a6494e38e1042f578e3a64ae3462b7899356f49e50be846c9609c"),
)
#: TezEdge first, then reference node of May 2019 (the first two agree).
SHARED_KEYS = (
    SHARED_KEY_TEZEDGE,
    SharedKey(
        _hex("c5c53093d7a610bba4f4012c389d6766b56490229663be35b03239c36328d64c"),
        _hex("9315f5537a0c011d3f1d0db1e816ba6b054bb4cd10574bf27df8555ab5351e64"),
        _hex("3b63e45f0bc52bf001b21e997eacf5bd6c55b8646fb46976821a0b1c0b16aa4d"),
    ),
    SharedKey(
        _hex("ebc28ea052c65fac7e43b97dcf2077de4ba21277d0323b971d7d56e83204225c"),
        _hex("76d7b2e27bbbfa93febab427262725bf3a6ba53636d0ff27325196f5d5cb17f6"),
        _hex("3b63e45f0bc52bf001b21e997eacf5bd6c55b8646fb46976821a0b1c0b16aa4d"),
    ),
    SharedKey(
        _hex("af37da23184f859fa755b3d941df5f87ab9e8378ab08382cc4b08148e0fbd82c"),
        _hex("af3272a9bd3ef8c7446b047d37a16d278d53d319467337ff7c00b030382ecd3e"),
        _hex("b7bc3ec3c75ff5b62531a44648d1bf0abc09c6a5e9f214a7454bb04379515650"),
    ),
)
#: TezEdge, same tests: `TEZEDGE_NONCE_SENT` as plaintext; the frame is ours to add.
BOX_TEZEDGE = Chunk(
    SHARED_KEY_TEZEDGE.shared_key,
    _hex("8dde158c55cff52f4be9352787d333e616a67853640d72c5"),
    TEZEDGE_NONCE_SENT,
    _hex(
        "009945d82d5c4067f5c32748596c1bbc93a9f87b5b1f2058ddd82b6f081ca484b672395c7473"
        "ab897c64c01c33878ac1ccb6919a75c9938d8bcf0e7917ddac13a787cfb5c9a5aea50d24502c"
        "f86b5c9b000358c039334ec077afe98936feec0dabfff35f14cafd2cd3173bbd56a7c6e5bf6f"
        "5f57c92b59b129918a5895e883e7d999b191aad078c4a5b164144c1beaed58b49ba9be094abf"
        "3a3bd9"
    ),
)
#: Reference node of May 2019: chunks it wrote under its first shared key.
CHUNKS_2019 = (
    Chunk(
        _hex("3b63e45f0bc52bf001b21e997eacf5bd6c55b8646fb46976821a0b1c0b16aa4d"),
        _hex("000000000000000000000000000000000000000000000000"),
        _hex(""),
        _hex("00101e0c16ab44a74af9da52eb4702ee04a3"),
    ),
    Chunk(
        _hex("3b63e45f0bc52bf001b21e997eacf5bd6c55b8646fb46976821a0b1c0b16aa4d"),
        _hex("000000000000000000000000000000000000000000000000"),
        _hex("00"),
        _hex("001102c8a1b955787a16a7208327c183a59dbb"),
    ),
    Chunk(
        _hex("3b63e45f0bc52bf001b21e997eacf5bd6c55b8646fb46976821a0b1c0b16aa4d"),
        _hex("000000000000000000000000000000000000000000000000"),
        _hex("ff"),
        _hex("0011a405f57005cc49af89ab9002f3cd939744"),
    ),
    Chunk(
        _hex("3b63e45f0bc52bf001b21e997eacf5bd6c55b8646fb46976821a0b1c0b16aa4d"),
        _hex("40c9c8b074357aa0e694fdd22346ebaabbc5f556fa80069f"),
        _hex("0000"),
        _hex("00126f8cf394e728e89c960db6ec956fb2f43a20"),
    ),
    Chunk(
        _hex("3b63e45f0bc52bf001b21e997eacf5bd6c55b8646fb46976821a0b1c0b16aa4d"),
        _hex("40c9c8b074357aa0e694fdd22346ebaabbc5f556fa80069f"),
        _hex(
            "54686520717569636b2062726f776e20666f78206a756d7073206f76657220746865206c617a"
            "7920646f67"
        ),
        _hex(
            "003b9f27a34ff026babf907e736d230cedb16e4855486a36ab88aa5b3d93578c83fa7968cb36"
            "daa1e322c4af92fddb9ea1a7ce49c8f635bd79ef1dd4e7"
        ),
    ),
)
CHUNKS = (BOX_TEZEDGE, *CHUNKS_2019)

# -- recorded handshake ----------------------------------------------------------------
#
# TezEdge, the traffic recording of its message benchmarks: its own node is the
# initiator, a node of the network CARTHAGENET answers.

#: Keys of the recording node.
RECORDED_KEYS = Keys(
    "idqjq34sB6uHWdFzJDB97zwXAdHASb",
    _hex("40a2c1e551c1e48b89e2a13bb58114f613801439ec6c4fc3396799768a748b6e"),
    _hex("66adf08839c350109d8955a92c6561f966d6a048968763d12b7026c7e368fbe1"),
    _hex("ff6d772406b595e2ae0fd5c640a62a47212f21cbbcaac6b4"),
)
#: Peer id of the node that answered.
RECORDED_REMOTE_PEER_ID = "idtdVEDBSoi2auJJ9CmUaNnK4FSNk6"
RECORDED_CHAIN_NAME = "TEZOS_ALPHANET_CARTHAGE_2019-11-28T13:02:13Z"
RECORDED_SHARED_KEY = _hex(
    "12f1ae95957d1043ce3334f9789e13dbc5c3159817e773d79ce1d029f1e0dec9"
)
#: What the initiator sent; the message is a Get_current_branch (0x10).
RECORDED_INITIATOR = Side(
    _hex(
        "0086260440a2c1e551c1e48b89e2a13bb58114f613801439ec6c4fc3396799768a748b6eff6d"
        "772406b595e2ae0fd5c640a62a47212f21cbbcaac6b430f1069e8db55d9506a7bdb07be08805"
        "a6287d6848f5dfef0000002c54455a4f535f414c5048414e45545f43415254484147455f3230"
        "31392d31312d32385431333a30323a31335a00000001"
    ),
    _hex("9a50778ccbfc15dd59b7175a7f6c21937a940b7d3ac47be6"),
    Exchange(_hex("0012501315db7509996b061e1b2823e70a6072bd"), _hex("0000")),
    Exchange(_hex("001130e8b60f4cadb54fafdad7f40eef3e2385"), _hex("00")),
    Exchange(
        _hex("001addfb5a68d7e4d67adce85dc7db8d2a4e57354dbd611efe5d61a9"),
        _hex("0000000600109caecab9"),
    ),
)
#: What the responder sent; its message is a Get_current_branch too.
RECORDED_RESPONDER = Side(
    _hex(
        "00862604e20639fd5df66ebbf5a480093778a12d3139e37d94fc97cba9992cbcb083a971815f"
        "987cc7eaf3b774cd500ed5c6c55e06e584fedd59767986605f5d933f3104f9b0164c826a21ea"
        "ad5e9430e76d1cb60000002c54455a4f535f414c5048414e45545f43415254484147455f3230"
        "31392d31312d32385431333a30323a31335a00000001"
    ),
    _hex("2646d1cbb99b2f8aa2bec7ceac84e4b795c1f710dfd8e703"),
    Exchange(_hex("0012ee039c3446e496eb29bc1c65859c77aa30d9"), _hex("0000")),
    Exchange(_hex("00112d52b63dedb4e6eae4a1f4fa62f08da66e"), _hex("00")),
    Exchange(
        _hex("001a603f34e0ace75b55bb275b814e791d61c49c318d0bc2ea2625dc"),
        _hex("0000000600109caecab9"),
    ),
)

# -- self-made handshake ---------------------------------------------------------------
#
# Proof-of-work difficulty 0, stamps all zero, chain TEZOS_MAINNET with versions 2 and 1.
# A is the initiator and listens on 9732; B is the responder and does not listen.

SELF_MADE_KEYS_A = Keys(
    "idtbfQ2moYtFctrhUzWvujTJ5nrskD",
    _hex("a4e09292b651c278b9772c569f5fa9bb13d906b46ab68c9df9dc2b4409f8a209"),
    b"\x01" * 32,
    bytes(24),
)
SELF_MADE_KEYS_B = Keys(
    "ids6B7VfW4pkVX2ojVtFPPNErr1pQY",
    _hex("ce8d3ad1ccb633ec7b70c17814a5c76ecd029685050d344745ba05870e587d59"),
    b"\x02" * 32,
    bytes(24),
)
SELF_MADE_MESSAGE_NONCE_A = b"\xaa" * 24
SELF_MADE_MESSAGE_NONCE_B = b"\xbb" * 24
SELF_MADE_SHARED_KEY = _hex(
    "18a99320f3488fa18a04239715d8ee738065e65c3d4b2898522d6c3d4ead588c"
)
#: A: metadata 0000, Ack, then a Bootstrap.
SELF_MADE_A = Side(
    _hex(
        "00672604a4e09292b651c278b9772c569f5fa9bb13d906b46ab68c9df9dc2b4409f8a2090000"
        "00000000000000000000000000000000000000000000aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaa0000000d54455a4f535f4d41494e4e455400020001"
    ),
    _hex("c64cbef84db0aa417ddd53bf534de852803f91bdc26f94f6"),
    Exchange(_hex("0012698b6829d30bf6fdaaaafce5376ab42ab0c1"), _hex("0000")),
    Exchange(_hex("0011dcf1f934988e4a31a6cd18b5c0a915489e"), _hex("00")),
    Exchange(
        _hex("0016861c1e9fde6132a6d23a218e9e8865072e2a58f8038e"),
        _hex("000000020002"),
    ),
)
#: B: metadata ffff, Ack, then an Advertise of 127.0.0.1:9732 and [::1]:9733.
SELF_MADE_B = Side(
    _hex(
        "00670000ce8d3ad1ccb633ec7b70c17814a5c76ecd029685050d344745ba05870e587d590000"
        "00000000000000000000000000000000000000000000bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
        "bbbbbbbbbbbbbbbb0000000d54455a4f535f4d41494e4e455400020001"
    ),
    _hex("d36fc03ab375328b1cc7adda65e11bb9d01a02e848945531"),
    Exchange(_hex("0012611af543290c4ee6745b3bda07b3d8e69780"), _hex("ffff")),
    Exchange(_hex("0011523609100bba3cee89814ced1e97ba21d7"), _hex("00")),
    Exchange(
        _hex(
            "00368b881d58b78d853bee3e77039db39229ab9a333bc2ad3593775725426e7ecc7d99f8084d"
            "bf8aa41713b22236f134730de013e7ae9cb5"
        ),
        _hex(
            "0000002200030000000e3132372e302e302e313a393733320000000a5b3a3a315d3a39373333"
        ),
    ),
)
#: B instead refuses A: Nack, motive 1, one point 127.0.0.1:9832.
SELF_MADE_NACK = Exchange(
    _hex(
        "00295beaff09c55a8ea23db0a0a5e0dd7620d6d9785b46daa618ed55686cdc034ddaf223a9a3"
        "ae2e5e621a"
    ),
    _hex("010001000000120000000e3132372e302e302e313a39383332"),
)
#: B instead refuses A as nodes of p2p version 0 do.
SELF_MADE_NACK_V0 = Exchange(_hex("001160c9410447610de11f8d3b07b95ee48b28"), _hex("ff"))
#: A's Bootstrap cut in slices of 3 bytes: the chunks at its third and fourth nonce.
SELF_MADE_SLICED_BOOTSTRAP = (
    _hex("0013c3ac3e97ac2f72f995b7a0916633f85d2e2a58"),
    _hex("0013711f19add76679daf61d70190b03e5ff21cf63"),
)
#: Plaintext of a Swap_request for 127.0.0.1:9732 and peer A.
SELF_MADE_SWAP_REQUEST = _hex(
    "0000002400040000000e3132372e302e302e313a39373332e3b70c7aef9e0d5649bbaa86f63c3ab1"
)
