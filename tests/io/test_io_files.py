"""Identity files: what is written can be read, what is wrong is said, nothing is lost."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

import pytest

from tezos_p2p.io import files
from tezos_p2p.io.files import (
    ExistentIdentityFile,
    NoIdentityFile,
    UnreadableIdentityFile,
    load_identity,
    parse_identity,
    save_identity,
)
from tezos_p2p.spec.identity import (
    Identity,
    IdentityError,
    IdentityMismatch,
    InsufficientProofOfWork,
    KeysMismatch,
)

# An identity file as a reference node of May 2019 wrote it; its stamp shows 12.5 bits.
REFERENCE = {
    "peer_id": "idr3dL5v3jdobyPbZPVbWekUdBzJyY",
    "public_key": "eb9a33c8c54cf7d7c68f8b2cfd6431657c8b84bee6510193d7df877bd074dc3e",
    "secret_key": "af3272a9bd3ef8c7446b047d37a16d278d53d319467337ff7c00b030382ecd3e",
    "proof_of_work_stamp": "0000000000000000000000000000000000000000000002a3",
}


def write(folder: Path, content: object) -> Path:
    path = folder / "identity.json"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


class Named(os.PathLike):
    def __init__(self, path):
        self.path = path

    def __fspath__(self):
        return str(self.path)


@pytest.mark.parametrize("kind", [str, Path, Named])
def test_a_file_may_be_named_as_for_open(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    identity = Identity.of_secret(bytes(range(32)))
    for place in (tmp_path / "one.json", "two.json"):
        save_identity(identity, kind(place))
        assert load_identity(kind(place)) == identity
        with pytest.raises(ExistentIdentityFile):
            save_identity(identity, kind(place))
    with pytest.raises(FileNotFoundError):
        save_identity(identity, kind(tmp_path / "nowhere" / "three.json"))


def test_a_file_of_the_reference_is_read_and_checked(tmp_path):
    identity = load_identity(write(tmp_path, REFERENCE), difficulty=12.5)
    assert str(identity.peer_id) == REFERENCE["peer_id"]
    assert identity.secret_key.hex() == REFERENCE["secret_key"]


def test_the_peer_id_may_be_absent(tmp_path):
    shorter = {key: value for key, value in REFERENCE.items() if key != "peer_id"}
    identity = load_identity(write(tmp_path, shorter))
    assert str(identity.peer_id) == REFERENCE["peer_id"]


def test_upper_case_hex_digits_are_read(tmp_path):
    shouting = REFERENCE | {"public_key": REFERENCE["public_key"].upper()}
    assert load_identity(write(tmp_path, shouting)).difficulty > 12


def test_what_is_saved_is_loaded_back_and_only_the_owner_may_read_it(tmp_path):
    identity = Identity.of_secret(bytes(range(32)), b"\7" * 24)
    path = tmp_path / "identity.json"
    save_identity(identity, path)
    assert load_identity(path) == identity
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(json.loads(path.read_text())) == list(REFERENCE)
    assert os.listdir(tmp_path) == ["identity.json"]


def test_a_file_is_never_overwritten(tmp_path):
    path = write(tmp_path, "precious")
    with pytest.raises(ExistentIdentityFile, match="not overwritten"):
        save_identity(Identity.of_secret(b"\1" * 32), path)
    assert path.read_text() == "precious"
    assert os.listdir(tmp_path) == ["identity.json"]


def test_of_many_writers_at_once_exactly_one_succeeds(tmp_path):
    path, refused = tmp_path / "identity.json", []
    identities = [Identity.of_secret(bytes([n]) * 32) for n in range(1, 9)]

    def save(identity):
        try:
            save_identity(identity, path)
        except ExistentIdentityFile:
            refused.append(identity)

    threads = [threading.Thread(target=save, args=(one,)) for one in identities]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [one for one in identities if one not in refused]
    assert load_identity(path) == winner
    assert os.listdir(tmp_path) == ["identity.json"]


def test_a_write_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save_identity(Identity.of_secret(b"\1" * 32), tmp_path / "identity.json")
    assert os.listdir(tmp_path) == []


def changed(**fields: object) -> dict[str, object]:
    return REFERENCE | fields


OTHER_PUBLIC = "c5c53093d7a610bba4f4012c389d6766b56490229663be35b03239c36328d64c"

BAD = [
    ("", UnreadableIdentityFile, "not JSON"),
    ("{", UnreadableIdentityFile, "not JSON"),
    (json.dumps(REFERENCE)[:-40], UnreadableIdentityFile, "not JSON"),
    ("[" * 100_000, UnreadableIdentityFile, "larger than|nested too deeply"),
    ("[" * 60_000, UnreadableIdentityFile, "nested too deeply"),
    (b"\xff\xfe{}", UnreadableIdentityFile, "byte 0 is not UTF-8"),
    (b" " * (1 << 16) + b"{}", UnreadableIdentityFile, "larger than 65536 bytes"),
    ([REFERENCE], UnreadableIdentityFile, "an object wanted, not list"),
    ("null", UnreadableIdentityFile, "an object wanted, not NoneType"),
    ({}, UnreadableIdentityFile, "public_key: missing"),
    (changed(public_key=7), UnreadableIdentityFile, "public_key: str wanted, not int"),
    (changed(secret_key=None), UnreadableIdentityFile, "secret_key: str wanted"),
    (changed(secret_key="zz" * 32), UnreadableIdentityFile, "not a string of hex digits"),
    (changed(secret_key="ab" * 31), UnreadableIdentityFile, "62 hex digits, 64 wanted"),
    (changed(secret_key="ab " * 21 + "a"), UnreadableIdentityFile, "secret_key"),
    (changed(proof_of_work_stamp="00" * 25), UnreadableIdentityFile, "50 .*, 48 wanted"),
    (
        changed(peer_id="idr3dL5v3jdobyPbZPVbWekUdBzJyZ"),
        UnreadableIdentityFile,
        "checksum",
    ),
    (changed(peer_id=["x"]), UnreadableIdentityFile, "peer_id: str wanted, not list"),
    (
        '{"public_key": "00", ' + json.dumps(REFERENCE)[1:],
        UnreadableIdentityFile,
        "more than once: public_key",
    ),
    (changed(**{"a\x1b[2J": "x"}), UnreadableIdentityFile, r"unknown fields: 'a\\x1b"),
    (changed(peerid="x"), UnreadableIdentityFile, "unknown fields: peerid"),
    (
        changed(peer_id="idtYTfTAvS6fhH9WvkXFtRaK6Cij32"),
        IdentityMismatch,
        "peer_id is idtYT.*its public_key makes idr3d",
    ),
    (
        changed(public_key=OTHER_PUBLIC, peer_id="idtYTfTAvS6fhH9WvkXFtRaK6Cij32"),
        KeysMismatch,
        "does not belong to the secret key",
    ),
]


@pytest.mark.parametrize(("content", "kind", "says"), BAD)
def test_a_bad_file_is_an_error_that_says_what_is_wrong_and_stays_as_it_is(
    tmp_path, content, kind, says
):
    path = write(tmp_path, content)
    before = path.read_bytes(), path.stat().st_mtime_ns
    with pytest.raises(kind, match=says) as caught:
        load_identity(path)
    assert isinstance(caught.value, IdentityError)
    assert isinstance(caught.value, ValueError)
    assert str(path) in str(caught.value)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_all_faults_of_a_file_are_told_at_once():
    with pytest.raises(UnreadableIdentityFile) as caught:
        parse_identity('{"public_key": 1, "secret_key": "ab", "peer_id": "x", "y": 0}')
    text = str(caught.value)
    for fault in ("public_key", "secret_key", "proof_of_work_stamp", "peer_id", "y"):
        assert fault in text
    assert len(caught.value.faults) == 5


def test_a_proof_of_work_that_falls_short_is_told_only_if_asked_for(tmp_path):
    path = write(tmp_path, REFERENCE)
    load_identity(path)
    with pytest.raises(InsufficientProofOfWork, match=r"12\.\d\d bits, 26 are expected"):
        load_identity(path, difficulty=26.0)


def test_every_truncation_of_a_file_is_an_identity_error(tmp_path):
    text = json.dumps(REFERENCE)
    for size in range(len(text)):
        with pytest.raises(IdentityError):
            parse_identity(text[:size])


def test_a_missing_file_is_told_with_what_to_do(tmp_path):
    with pytest.raises(NoIdentityFile, match="generate one"):
        load_identity(tmp_path / "identity.json")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_named_pipe_in_place_of_the_file_is_told_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "identity.json")
    with pytest.raises(UnreadableIdentityFile, match="not a regular file"):
        load_identity(tmp_path / "identity.json")


def test_what_cannot_be_the_name_of_a_file_is_told(tmp_path):
    with pytest.raises(NoIdentityFile, match="no name of a file"):
        load_identity(tmp_path / "a\0b")


def test_a_missing_folder_is_told_by_its_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such folder.*nowhere"):
        save_identity(Identity.of_secret(b"\1" * 32), tmp_path / "nowhere" / "x.json")


def test_a_folder_in_place_of_the_file_is_told(tmp_path):
    with pytest.raises(UnreadableIdentityFile, match="Is a directory"):
        load_identity(tmp_path)
