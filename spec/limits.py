"""Every limit and timeout: name, unit, default, meaning; thresholds derived from them.

`CONSTANTS` are the protocol's own numbers, fixed on the wire or by the reference.
`Limits` are the settings of a node, with the names that the ``p2p.limits`` section of
the reference's configuration file uses; `limit_table` lists both.

Thresholds follow from ``min <= expected <= max`` connections with
``a = (expected - min) // 3`` and ``b = (max - expected) // 3``:

=============  ============  ===========================================================
name           value         meaning
=============  ============  ===========================================================
min_threshold  min + a       below it maintenance looks for peers
min_target     min + 2a      ... until it has this many
max_target     max - 2b      ... never dialling beyond; also where trimming stops
max_threshold  max - b       above it maintenance trims; at it peers are refused
=============  ============  ===========================================================

Defaults 10, 50, 100 give 23, 36, 68, 84.

Source: the limits and maintenance modules of the reference node, 2026; times that
2019 shares are the same there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

import attrs

from .binary import UINT30_MAX
from .hello import FRAME_MAX_SIZE, POINTS_MAX, POINTS_SENT_MAX
from .identity import DEFAULT_DIFFICULTY
from .message import MESSAGE_MAX_SIZE
from .point import DEFAULT_PORT, POINT_MAX_SIZE

#: Bytes of the length in front of every frame, clear or encrypted.
FRAME_HEADER_SIZE: Final = 2
#: Bytes of the Poly1305 tag in front of every ciphertext.
TAG_SIZE: Final = 16
#: Bytes that a chunk adds to its plaintext.
CHUNK_OVERHEAD: Final = FRAME_HEADER_SIZE + TAG_SIZE
#: Most plaintext bytes that we put in one chunk (nodes of 2019 write 65 503).
CHUNK_PLAINTEXT_SENT_MAX: Final = FRAME_MAX_SIZE - CHUNK_OVERHEAD
#: Most plaintext bytes that a chunk can hold when read.
CHUNK_PLAINTEXT_MAX: Final = FRAME_MAX_SIZE - TAG_SIZE
#: Most bytes of a frame, its header included.
FRAME_WIRE_MAX: Final = FRAME_HEADER_SIZE + FRAME_MAX_SIZE


@attrs.frozen
class Limit:
    """One line of the table of limits.

    Attributes:
        name: Python name.
        unit: what the number counts.
        default: its value, a pair where there are two, None for "no limit".
        meaning: one phrase.
        key: name in the reference's configuration file; empty for constants.
    """

    name: str
    unit: str
    default: float | tuple[int, int] | None
    meaning: str
    key: str = ""


#: The protocol's own numbers.
CONSTANTS: Final = (
    Limit("frame_max_size", "bytes", FRAME_MAX_SIZE, "body of a frame, from its uint16"),
    Limit(
        "chunk_plaintext_sent_max",
        "bytes",
        CHUNK_PLAINTEXT_SENT_MAX,
        "plaintext that we put in one chunk",
    ),
    Limit(
        "chunk_plaintext_max", "bytes", CHUNK_PLAINTEXT_MAX, "plaintext read from a chunk"
    ),
    Limit("message_max_size", "bytes", MESSAGE_MAX_SIZE, "one message, size included"),
    Limit("point_max_size", "bytes", POINT_MAX_SIZE, "one point, length included"),
    Limit("points_max", "points", POINTS_MAX, "read in one Advertise or nack"),
    Limit("points_sent_max", "points", POINTS_SENT_MAX, "sent in one Advertise or nack"),
    Limit("uint30_max", "bytes", UINT30_MAX, "a length prefix, when written"),
    Limit("default_port", "port", DEFAULT_PORT, "TCP port where nodes listen"),
    Limit("default_difficulty", "bits", DEFAULT_DIFFICULTY, "proof of work of peers"),
)


def _limit(default: Any, unit: str, meaning: str, key: str | None = None) -> Any:
    metadata = {"unit": unit, "meaning": meaning, "key": key}
    return attrs.field(default=default, metadata=metadata)


# For each setting: what it is, its least and its greatest value, whether it may be
# None.  The widths are those of the reference's file.
_COUNT, _NUMBER, _PAIR = "count", "number", "pair"
_TINY: Final = 1e-9
_YEARS: Final = 1e9
_UINT8: Final = 0xFF
_UINT16: Final = 0xFFFF
_INT31: Final = (1 << 30) - 1
_RANGES: Final = {
    "connection_timeout": (_NUMBER, _TINY, _YEARS, False),
    "authentication_timeout": (_NUMBER, _TINY, _YEARS, False),
    "min_connections": (_COUNT, 0, _UINT16, False),
    "expected_connections": (_COUNT, 0, _UINT16, False),
    "max_connections": (_COUNT, 0, _UINT16, False),
    "backlog": (_COUNT, 0, _UINT8, False),
    "max_incoming_connections": (_COUNT, 0, _UINT8, False),
    "max_download_speed": (_COUNT, 0, _INT31, True),
    "max_upload_speed": (_COUNT, 0, _INT31, True),
    "swap_linger": (_NUMBER, _TINY, _YEARS, True),
    "binary_chunks_size": (_COUNT, CHUNK_OVERHEAD + 1, FRAME_MAX_SIZE, True),
    "read_buffer_size": (_COUNT, 0, _INT31, False),
    "read_queue_size": (_COUNT, 0, _INT31, True),
    "write_queue_size": (_COUNT, 0, _INT31, True),
    "incoming_app_message_queue_size": (_COUNT, 0, _INT31, True),
    "incoming_message_queue_size": (_COUNT, 0, _INT31, True),
    "outgoing_message_queue_size": (_COUNT, 0, _INT31, True),
    "max_known_points": (_PAIR, 0, _UINT16, True),
    "max_known_peer_ids": (_PAIR, 0, _UINT16, True),
    "peer_greylist_size": (_COUNT, 1, _UINT16, False),
    "ip_greylist_size_in_kilobytes": (_COUNT, 1, 8191, False),
    "ip_greylist_cleanup_delay": (_NUMBER, 0, _YEARS, True),
    "greylist_timeout": (_NUMBER, 0, _YEARS, False),
    "maintenance_idle_time": (_NUMBER, _TINY, _YEARS, True),
}


def _faults_of(name: str, value: object) -> Iterator[str]:
    """Say what is wrong with one setting."""
    kind, low, high, may_be_none = _RANGES[name]
    if value is None and may_be_none:
        return
    if kind == _PAIR:
        # The type is for callers without a type checker.
        pair = cast("Sequence[Any]", value)
        if type(value) is not tuple or len(pair) != 2:
            yield f"{name} {pair} is not a pair of numbers"
        elif not all(_is_within(each, _COUNT, low, high) for each in pair):
            yield f"{name} {pair} is not in {low}..{high}"
        elif pair[1] > pair[0]:
            yield f"{name}: target {pair[1]} exceeds most {pair[0]}"
    elif not _is_within(value, kind, low, high):
        yield f"{name} {value} is not in {low:.10g}..{high:.10g}"


def _is_within(value: object, kind: str, low: float, high: float) -> bool:
    if type(value) is int or (type(value) is float and kind == _NUMBER):
        return low <= value <= high
    return False


@attrs.frozen(kw_only=True)
class Limits:
    """The settings of one node; `limit_table` gives unit, default and meaning of each.

    Raises:
        ValueError: every rule that the values break, at once.
    """

    connection_timeout: float = _limit(10.0, "s", "one outgoing attempt, dial to answer")
    authentication_timeout: float = _limit(5.0, "s", "one incoming handshake")
    min_connections: int = _limit(10, "connections", "fewest that are acceptable")
    expected_connections: int = _limit(50, "connections", "wanted")
    max_connections: int = _limit(100, "connections", "most that are acceptable")
    backlog: int = _limit(20, "connections", "not yet accepted, kept by the system")
    max_incoming_connections: int = _limit(20, "connections", "incoming handshakes")
    max_download_speed: int | None = _limit(None, "KiB/s", "all peers together")
    max_upload_speed: int | None = _limit(None, "KiB/s", "all peers together")
    swap_linger: float | None = _limit(30.0, "s", "least time between swaps; none: never")
    binary_chunks_size: int | None = _limit(None, "bytes", "one chunk, 19 to 65535")
    read_buffer_size: int = _limit(16_384, "bytes", "read from a socket at once")
    read_queue_size: int | None = _limit(1 << 23, "bytes", "read, not yet decrypted")
    write_queue_size: int | None = _limit(1 << 23, "bytes", "encrypted, not yet written")
    incoming_app_message_queue_size: int | None = _limit(
        10, "messages", "decoded, not yet taken by the application"
    )
    incoming_message_queue_size: int | None = _limit(
        1 << 23, "bytes", "decoded, not yet handled"
    )
    outgoing_message_queue_size: int | None = _limit(
        1 << 23, "bytes", "encoded, not yet encrypted"
    )
    max_known_points: tuple[int, int] | None = _limit(
        (400, 300), "points", "most, and how many collection leaves", "max_known_points"
    )
    max_known_peer_ids: tuple[int, int] | None = _limit(
        (400, 300), "peers", "most, and how many collection leaves", "max_known_peer_ids"
    )
    peer_greylist_size: int = _limit(
        1023, "peers", "greylisted peers", "peer_greylist_size"
    )
    ip_greylist_size_in_kilobytes: int = _limit(
        2048, "KiB", "greylisted addresses", "ip_greylist_size_in_kilobytes"
    )
    ip_greylist_cleanup_delay: float | None = _limit(
        None, "s", "stay in the greylist", "ip_greylist_cleanup_delay"
    )
    greylist_timeout: float = _limit(86_400.0, "s", "same, if the former is not given")
    maintenance_idle_time: float | None = _limit(
        120.0, "s", "between maintenance runs; none: no maintenance"
    )

    def __attrs_post_init__(self) -> None:
        """Check the rules that the reference checks at start."""
        faults: list[str] = []
        for name in _RANGES:
            faults += _faults_of(name, getattr(self, name))
        wanted = (
            self.min_connections,
            self.expected_connections,
            self.max_connections,
        )
        if all(type(each) is int for each in wanted) and wanted != tuple(sorted(wanted)):
            faults.append(
                "min <= expected <= max connections: "
                f"{', '.join(map(str, wanted))} are not"
            )
        if faults:
            raise ValueError("; ".join(faults))

    @property
    def thresholds(self) -> Thresholds:
        """The bounds that maintenance and admission use."""
        down = (self.expected_connections - self.min_connections) // 3
        up = (self.max_connections - self.expected_connections) // 3
        return Thresholds(
            self.min_connections + down,
            self.min_connections + 2 * down,
            self.max_connections - 2 * up,
            self.max_connections - up,
        )


@attrs.frozen
class Thresholds:
    """Numbers of connections between which maintenance leaves things alone.

    Attributes:
        min_threshold: below it, look for peers.
        min_target: until there are this many.
        max_target: trim down to it, never dial beyond it.
        max_threshold: above it, trim; at it, refuse.
    """

    min_threshold: int
    min_target: int
    max_target: int
    max_threshold: int


def limit_table() -> tuple[Limit, ...]:
    """Return every constant and every setting, one line each."""
    settings = (
        Limit(
            field.name,
            field.metadata["unit"],
            field.default,
            field.metadata["meaning"],
            field.metadata["key"] or field.name.replace("_", "-"),
        )
        for field in attrs.fields(Limits)
    )
    return (*CONSTANTS, *settings)
