"""The metrics of a node, as Prometheus reads them: text format 0.0.4, sorted by name.

Families ``octez_p2p_...`` are the reference's, with its names, types and help: what draws
its metrics draws ours.  They have no labels, values have six decimals, and the names of
counters lack ``_total``, which `prometheus_client` would add: so they are written here.
Beside them are our own, ``tezos_p2p_...``, and those of the process.

Gauges are counted when they are asked for, by walking the tables: `read` does that, with
the node for itself; `Exposition.text` makes text of it, with nobody else concerned.

Source: the metrics module of the reference node, 2026, whose trusted points are always 0;
here they are counted.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import attrs
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from ..fsm import peer as peers
from ..fsm import point as points
from ..fsm.figures import Queues
from ..fsm.node import Node
from ..fsm.tally import BOUNDS, Durations
from ..spec.limits import Limits
from ..spec.message import Advertise, Bootstrap, SwapAck, SwapRequest

#: Of the text.
CONTENT_TYPE: Final = "text/plain; version=0.0.4"

_KINDS: Final = ("active", "incoming", "outgoing", "private")
_PEER_STATES: Final = {
    "accepted": "Number of accepted connections",  # so the reference says
    "running": "Number of running peers",
    "disconnected": "Number of disconnected peers",
}
_POINTS: Final = ("trusted", "greylisted", "accepted", "running", "disconnected")
_OWN: Final = {
    "advertise": (Advertise, "advertise"),
    "bootstrap": (Bootstrap, "bootstrap"),
    "swap_requests": (SwapRequest, "swap"),
    "swap_ack": (SwapAck, "swap acks"),
}


def _reference() -> Iterator[tuple[str, str, str]]:
    """Give name, type and help of the reference's families, without ``octez_p2p_``."""
    for kind in _KINDS:
        yield f"connections_{kind}", "gauge", f"Number of {kind} connections"
    for state, text in _PEER_STATES.items():
        yield f"peers_{state}", "gauge", text
    for state in _POINTS:
        yield f"points_{state}", "gauge", f"Number of {state} points"
    for name, text in (
        ("total_sent", "Total amount of sent data (in bytes)"),
        ("total_recv", "Total amount of received data"),
        ("current_inflow", "Current ingoing data rate"),
        ("current_outflow", "Current outgoing data rate"),
    ):
        yield f"io_scheduler_{name}", "gauge", text
    sent, received = "Number of user message sent", "Number of user message received"
    yield "messages_broadcast_message_sent", "counter", f"{sent} by broadcasting"
    yield "messages_user_message_sent", "counter", sent
    yield "messages_user_message_received", "counter", received
    wrong = f"{received} that resulted in error"
    yield "messages_user_message_received_error", "counter", wrong
    for name, (_, text) in _OWN.items():
        for way in ("sent", "received"):
            yield f"messages_{name}_{way}", "counter", f"Number of {text} {way}"
    for name, text in (("ignored",) * 2, ("success", "successful"), ("fail", "failed")):
        yield f"swap_{name}", "counter", f"Number of {text} swap"


#: The reference's families: name, type, help; sorted.
REFERENCE: Final = tuple(
    sorted((f"octez_p2p_{name}", kind, text) for name, kind, text in _reference())
)


# -- what is read ----------------------------------------------------------------------


@attrs.frozen
class Reading:
    """All of a node at one moment; nothing in it changes any more.

    Attributes:
        reference: the reference's values, by the names of `REFERENCE`.
        queues: what waits.
        links: TCP connections, by where they stand.
        refused: connections that were refused, failed or ended, by reason.
        throttled: this layer's messages that came too soon.
        ignored: those that nothing was done about.
        untaught: points that peers were not let teach.
        phases: durations of handshakes, by phase.
    """

    reference: dict[str, float]
    queues: Queues
    links: dict[str, int]
    refused: dict[str, int]
    throttled: int
    ignored: int
    untaught: int
    phases: dict[str, Timing]


@attrs.frozen
class Timing:
    """Durations at one moment: buckets of ``tally.BOUNDS``, and seconds in all."""

    counts: tuple[int, ...]
    total: float

    @classmethod
    def of(cls, durations: Durations) -> Timing:
        """Return what some have come to."""
        return cls(tuple(durations.counts), durations.total)


def read(core: Node[Any, Any], now: float) -> Reading:
    """Read a node off; nothing else must use it meanwhile.

    The cost grows with the tables: points and peers that are known, connections.
    """
    tally = core.tally
    return Reading(
        reference=_read_reference(core, now),
        queues=core.queues(),
        links={_name_of(state): count for state, count in core.census().items()},
        refused={_name_of(reason): count for reason, count in core.refused.items()},
        throttled=tally.throttled,
        ignored=tally.ignored,
        untaught=core.untaught,
        phases={phase.value: Timing.of(each) for phase, each in tally.phases.items()},
    )


def _name_of(member: enum.Enum) -> str:
    return member.name.lower()


def _read_reference(core: Node[Any, Any], now: float) -> dict[str, float]:
    pool, tally, stat = core.pool, core.tally, core.stat(now)
    running = pool.running.values()
    incoming = sum(each.incoming for each in running)
    found: dict[str, float] = {
        "connections_active": len(running),
        "connections_incoming": incoming,
        "connections_outgoing": len(running) - incoming,
        "connections_private": sum(each.private for each in running),
        "io_scheduler_total_sent": stat.total_sent,
        "io_scheduler_total_recv": stat.total_recv,
        "io_scheduler_current_inflow": stat.current_inflow,
        "io_scheduler_current_outflow": stat.current_outflow,
        "messages_broadcast_message_sent": tally.broadcast,
        "messages_user_message_sent": tally.sent,
        "messages_user_message_received": tally.received,
        "messages_user_message_received_error": tally.unreadable,
        "swap_ignored": tally.swaps_ignored,
        "swap_success": core.swaps.won,
        "swap_fail": core.swaps.lost,
    }
    for name, (cls, _) in _OWN.items():
        found[f"messages_{name}_sent"] = tally.own_sent[cls]
        found[f"messages_{name}_received"] = tally.own_received[cls]
    by_peer = [info.state for info in pool.known_peers.values()]
    for name in _PEER_STATES:
        found[f"peers_{name}"] = by_peer.count(peers.State[name.upper()])
    known = pool.known_points.values()
    by_point = [info.state for info in known]
    for name in _POINTS[2:]:
        found[f"points_{name}"] = by_point.count(points.State[name.upper()])
    found["points_trusted"] = sum(info.trusted for info in known)
    # As the reference has it: there is a date, be it over or not.
    found["points_greylisted"] = sum(info.retry_at is not None for info in known)
    return {f"octez_p2p_{name}": value for name, value in found.items()}


# -- what is written -------------------------------------------------------------------


def reference_text(values: dict[str, float]) -> str:
    """Write the reference's families as it does."""
    return "".join(
        f"# HELP {name} {text}\n# TYPE {name} {kind}\n{name} {values[name]:.6f}\n"
        for name, kind, text in REFERENCE
    )


class Exposition:
    """The text for one scrape after another.

    Args:
        read: reads the node off.
        limits: of the node, for how full its queues are.
        process: whether families of the process are told, too.

    Attributes:
        lag: how late the node was served, to be added to by who serves the metrics.
    """

    def __init__(
        self, read: Callable[[], Reading], limits: Limits, *, process: bool = True
    ) -> None:
        self.lag = Durations()
        self._read = read
        self._limits = limits
        self._process = CollectorRegistry()
        if process:
            ProcessCollector(registry=self._process)
            PlatformCollector(registry=self._process)
            GCCollector(registry=self._process)
        self._reading: Reading | None = None
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def text(self) -> bytes:
        """Return the families as they are now."""
        self._reading = self._read()
        reference = reference_text(self._reading.reference).encode()
        # "octez" comes before all others: "process", "python", "tezos".
        return reference + generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """Return all families but the reference's, sorted; for `prometheus_client`."""
        own = () if self._reading is None else self._own(self._reading)
        return sorted(itertools.chain(self._process.collect(), own), key=_written_name)

    def _own(self, it: Reading) -> Iterator[Metric]:
        yield _labelled(
            GaugeMetricFamily,
            "tezos_p2p_links",
            "TCP connections by where they stand: dialling to leaving",
            "state",
            it.links,
        )
        yield _labelled(
            CounterMetricFamily,
            "tezos_p2p_refused_connections",
            "Connections that were refused, failed or ended",
            "reason",
            it.refused,
        )
        yield CounterMetricFamily(
            "tezos_p2p_throttled_messages",
            "Messages of this layer that came too soon and were dropped",
            value=it.throttled,
        )
        yield CounterMetricFamily(
            "tezos_p2p_ignored_messages",
            "Messages of this layer that nothing was done about",
            value=it.ignored,
        )
        yield CounterMetricFamily(
            "tezos_p2p_untaught_points",
            "Points that peers were not let teach: they had told of enough",
            value=it.untaught,
        )
        queues, limits = it.queues, self._limits
        yield _labelled(
            GaugeMetricFamily,
            "tezos_p2p_queue_bytes",
            "Bytes that wait in the queues of all connections",
            "queue",
            {"incoming": queues.incoming, "outgoing": queues.outgoing},
        )
        yield _labelled(
            GaugeMetricFamily,
            "tezos_p2p_queue_fill_ratio",
            "How full the fullest queue of a connection is; 0 without a limit",
            "queue",
            {
                "incoming": _ratio(
                    queues.incoming_most, limits.incoming_message_queue_size
                ),
                "outgoing": _ratio(
                    queues.outgoing_most, limits.outgoing_message_queue_size
                ),
            },
        )
        yield GaugeMetricFamily(
            "tezos_p2p_inbox_messages",
            "Messages that the application has not pulled",
            value=queues.inbox,
        )
        yield _histogram(
            "tezos_p2p_handshake_seconds",
            "Seconds that the steps of handshakes took",
            "phase",
            it.phases,
        )
        yield _histogram(
            "tezos_p2p_loop_lag_seconds",
            "Seconds that who asks the node's loop once a second had to wait",
            "",
            {"": Timing.of(self.lag)},
        )


def _written_name(metric: Metric) -> str:
    return metric.name + "_total" if metric.type == "counter" else metric.name


def _ratio(most: int, limit: int | None) -> float:
    return most / limit if limit else 0.0


def _labelled(
    kind: type[GaugeMetricFamily | CounterMetricFamily],
    name: str,
    text: str,
    label: str,
    values: dict[str, Any],
) -> Metric:
    family = kind(name, text, labels=[label])
    for value in sorted(values):
        family.add_metric([value], values[value])
    return family


def _histogram(name: str, text: str, label: str, timings: dict[str, Timing]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=[label] if label else [])
    for value, timing in timings.items():
        sums = itertools.accumulate(timing.counts)
        ends = (*map(str, BOUNDS), "+Inf")
        buckets = [(end, float(count)) for end, count in zip(ends, sums, strict=True)]
        family.add_metric([value] if label else [], buckets, timing.total)
    return family
