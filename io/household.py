"""The files of a running node: loaded before it starts, saved now and then.

What cannot be read is set aside with a warning, what cannot be saved is told and tried
again; neither ends the node.  That something cannot be saved is told when it starts, too,
and `unsaved` says what was not saved at last.

Source: the life cycle of the reference node's peers file, 2026.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Final

import attrs

from ..fsm.diversity import Diversity
from ..fsm.node import Node as Core
from ..spec.point import Point
from .acl_file import (
    OperatorLists,
    lists_of,
    load_acl,
    load_anchors,
    restore_lists,
    save_acl,
    save_anchors,
)
from .data_dir import DataDir
from .json_file import is_null, write_text
from .peers_file import (
    PEERS_MAX_SIZE,
    TEZOS_METADATA,
    format_peers,
    load_peers,
    peers_json,
    restore_peers,
)
from .timestamps import Clocks

#: Seconds between two saves.
SAVE_EVERY: Final = 300.0


def _to_nobody(_: Path) -> None:
    pass


@attrs.define
class Household:
    """What is kept of a node between two runs.

    Args:
        files: where.
        warn: called with a name and one line for each thing that is wrong.
        saved: called with each file that is saved.

    Attributes:
        unsaved: the files that could not be saved the last time.
    """

    files: DataDir
    _warn: Callable[[str, str], object]
    _tell_saved: Callable[[Path], object] = attrs.field(default=_to_nobody, alias="saved")
    _configured: dict[Point, None] = attrs.field(factory=dict[Point, None])
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _collected: int = attrs.field(default=0, init=False)
    _saved: int = attrs.field(default=0, init=False)
    unsaved: tuple[Path, ...] = attrs.field(default=(), init=False)

    def configure(self, point: Point) -> None:
        """Take note that the configuration trusts a point: that is not kept."""
        self._configured[point] = None

    def diversity(self) -> Diversity:
        """Return what knows the anchors of the last run."""
        loaded = load_anchors(self.files.anchors)
        self._tell("file", loaded.warnings)
        return Diversity(anchors=loaded.value)

    def restore(self, core: Core[Any, Any], configured: Collection[Point]) -> None:
        """Let a node that has not started know what the last one knew.

        Args:
            core: the node, whose metadata are those of Tezos.
            configured: points that are trusted by configuration.
        """
        self._tell("file", self.files.unsavable())
        self._configured.update(dict.fromkeys(configured))
        clocks = Clocks(time.monotonic(), time.time())
        peers = load_peers(self.files.peers, clocks, TEZOS_METADATA)
        self._tell("parse_error_peers", peers.warnings)
        restore_peers(core.pool, peers.value, clocks.now)
        lists = load_acl(self.files.acl)
        self._tell("file", lists.warnings)
        if lists.value is not None:
            restore_lists(core.pool, core.acl, lists.value, clocks.now)

    def collect(
        self, core: Core[Any, Any], anchors: tuple[Point, ...]
    ) -> Callable[[], None]:
        """Return what saves the node as it is now; it may be called by another thread.

        Of two that are called at once, or out of order, the one that was made last wins.

        Args:
            core: the node; nothing else must use it during this call.
            anchors: what its diversity said last while it ran.
        """
        self._collected += 1
        number = self._collected
        clocks = Clocks(time.monotonic(), time.time())
        peers = peers_json(core.pool.known_peers.values(), clocks.wall_of, TEZOS_METADATA)
        lists = lists_of(core.pool, core.acl, self._configured)
        return lambda: self._save(number, peers, lists, anchors)

    def _save(
        self,
        number: int,
        peers: list[dict[str, Any]],
        lists: OperatorLists,
        anchors: tuple[Point, ...],
    ) -> None:
        files = self.files

        def save_peers() -> None:
            if not is_null(files.peers):
                write_text(files.peers, format_peers(peers), PEERS_MAX_SIZE)

        jobs: tuple[tuple[Path, Callable[[], None]], ...] = (
            (files.peers, save_peers),
            (files.acl, lambda: save_acl(files.acl, lists)),
            (files.anchors, lambda: save_anchors(files.anchors, anchors)),
        )
        with self._lock:
            if number < self._saved:
                return
            self._saved = number
            unsaved: list[Path] = []
            for path, save in jobs:
                try:
                    save()
                except Exception as exc:  # whatever it is, the others are saved
                    why = exc.strerror if isinstance(exc, OSError) else repr(exc)
                    name = "save_error_peers" if path == files.peers else "file"
                    what = f"{path} is not saved: {why}; the old one is as it was"
                    self._warn(name, what)
                    unsaved.append(path)
                else:
                    self._tell_saved(path)
            self.unsaved = tuple(unsaved)

    def _tell(self, name: str, warnings: tuple[str, ...]) -> None:
        for line in warnings:
            self._warn(name, line)
