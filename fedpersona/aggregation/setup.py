"""``serve init``: a folder with everything that a server needs, made once.

``server.toml`` is written last: where it stands, all the rest is whole. A folder in which this was cut off half-way
has the file ``.unfinished`` instead, and the next call begins anew.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from fedpersona.aggregation.certificates import Authority, new_signing_key, signing_key
from fedpersona.aggregation.config import Endpoint, ServerConfig
from fedpersona.catalogue import Catalogue
from fedpersona.errors import ConfigError, OutputError, UnsafeServer
from fedpersona.wire.signed_catalogue import seal

__all__ = ["CONFIG", "NewServer", "initialise", "server_toml"]

CONFIG = "server.toml"

_UNFINISHED = ".unfinished"
_OURS = ("keys", "state", "catalogue.fpc", CONFIG)
_HTTPS = 443
_LABEL = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*")
_LONGEST_HOST = 253


@dataclass(frozen=True)
class NewServer:
    """What an operator says about a new server."""

    name: str = "My federation"
    address: str = "https://127.0.0.1:8443"
    """What devices use."""
    listen: str = ""
    """Where the front listens; by default the port of the address, on loopback if the address is loopback."""
    operator: str = ""
    hosts: tuple[str, ...] = ()
    """Further names and IP addresses that the front's certificate is for."""
    superlink_port: int = 9092
    ops: str = "127.0.0.1:9100"
    epsilon: float | None = None
    """What the federation may cost a person over its life; None where its sums have no noise."""
    delta: float = 1e-6
    """The δ that belongs to it."""

    def with_listen(self) -> NewServer:
        """Return the same with ``listen`` said.

        Raises:
            ConfigError: the address is none.
        """
        if self.listen:
            return self
        host, port = _host_and_port(self.address)
        shown = f"[{host}]" if ":" in host else host
        local = Endpoint(f"{shown}:{port}").loopback
        here = "127.0.0.1" if host == "localhost" else shown
        return replace(self, listen=f"{here if local else '0.0.0.0'}:{port}")  # noqa: S104 - with TLS

    def certified(self) -> tuple[str, ...]:
        """Return the names and addresses that the front's certificate is for, each once.

        Raises:
            ConfigError: one is neither a host name nor an IP address.
        """
        host, _ = _host_and_port(self.address)
        found = tuple(dict.fromkeys((host, *self.hosts, "localhost", "127.0.0.1", "::1")))
        for one in found:
            if len(one) > _LONGEST_HOST or not (_HOST.fullmatch(one) or _is_ip(one)):
                raise ConfigError(f"the host '{one[:80]}' is neither a host name in plain letters nor an IP address")
        return found


def initialise(folder: Path, server: NewServer, catalogue: Catalogue) -> ServerConfig:
    """Make the folder of a new server: configuration, authority, certificates, signing key, catalogue.

    Args:
        folder: made if it is not there; other files in it are left alone.
        server: what the operator says.
        catalogue: what devices get; it is sealed by the new signing key.

    Raises:
        ConfigError: something that was said is out of its range; nothing is made.
        DataError: the catalogue holds what no device would accept; nothing is left.
        OutputError: a server is here already, or the folder cannot be written; nothing is changed.
    """
    said = server.with_listen()
    text = server_toml(said)
    hosts = said.certified()
    try:
        with _unfinished(folder):
            _make_keys(folder / "keys", said.name, hosts)
            _new_folder(folder / "state")
            sealed = seal(catalogue, issued=int(time.time()), key=signing_key(folder / "keys" / "operator-key.pem"))
            _write(folder / "catalogue.fpc", sealed, 0o644)
            draft = folder / f".{CONFIG}"
            draft.unlink(missing_ok=True)
            _write(draft, text.encode(), 0o644)
            _check_draft(draft)
            draft.rename(folder / CONFIG)
            _sync_folder(folder)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror or error}") from None
    return ServerConfig.load(folder / CONFIG)


def _check_draft(draft: Path) -> None:
    try:
        ServerConfig.load(draft)
    except (ConfigError, UnsafeServer) as error:
        kind = UnsafeServer if isinstance(error, UnsafeServer) else ConfigError
        raise kind(str(error).replace(str(draft.absolute()), "the new server")) from None


@contextmanager
def _unfinished(folder: Path) -> Iterator[None]:
    """Hold the folder for one ``init``; what an earlier one left half-made is removed, as is what fails here."""
    made = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / _UNFINISHED
    if not mark.exists():
        _check_free(folder)
    with mark.open("a") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise OutputError(f"{folder}: another 'serve init' works here: let it end") from None
        if (folder / CONFIG).exists():  # only the mark was left to remove
            mark.unlink(missing_ok=True)
            _check_free(folder)
        if any((folder / "state").glob("*")):  # it was in use, whatever became of its configuration
            raise OutputError(f"{folder}: the state of a server is here, and nothing was changed: give another folder")
        _remove(folder)
        try:
            yield
        except BaseException:
            _remove(folder)
            mark.unlink(missing_ok=True)
            if made:
                with suppress(OSError):
                    folder.rmdir()
            raise
        mark.unlink(missing_ok=True)


def _check_free(folder: Path) -> None:
    for name in _OURS:
        if (folder / name).exists():
            raise OutputError(
                f"{folder}: '{name}' is here already, and nothing was changed: give another folder, "
                "or use the server that is here"
            )


def _remove(folder: Path) -> None:
    """Remove what an unfinished ``init`` made; the caller holds the mark, so it is nobody else's."""
    for name in _OURS:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    (folder / f".{CONFIG}").unlink(missing_ok=True)


def _make_keys(keys: Path, name: str, hosts: Sequence[str]) -> None:
    _new_folder(keys)
    authority = Authority.create(name)
    made = {
        "authority": authority.pem,
        "front": authority.issue(hosts[0], hosts),
        "superlink": authority.issue("superlink", ("127.0.0.1", "localhost")),
    }
    for which, issued in made.items():
        certificate = "authority.pem" if which == "authority" else f"{which}-certificate.pem"
        _write(keys / certificate, issued.certificate, 0o644)
        _write(keys / f"{which}-key.pem", issued.key, 0o600)
    _write(keys / "operator-key.pem", new_signing_key(), 0o600)
    _sync_folder(keys)


def _new_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    folder.chmod(0o700)  # whatever the umask


def _write(path: Path, data: bytes, mode: int) -> None:
    """Write a file that is not there yet, to the disk."""
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(number, "wb") as file:
        os.fchmod(number, mode)
        file.write(data)
        file.flush()
        os.fsync(number)


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text  # a zone is of one machine only


def _host_and_port(address: str) -> tuple[str, int]:
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port or _HTTPS
    except ValueError:
        host, port = None, 0
    if not host or not address.startswith("https://"):
        raise ConfigError(f"the address is '{address[:80]}': give https://host or https://host:port")
    return host, port


def server_toml(server: NewServer) -> str:
    """Return a commented ``server.toml``."""
    said = server.with_listen()
    quoted = {
        name: json.dumps(getattr(said, name), ensure_ascii=False).replace("\x7f", "\\u007f")
        for name in ("name", "address", "listen", "operator", "ops")
    }
    limit = 8.0 if said.epsilon is None else float(said.epsilon)
    privacy = _PRIVACY.format(epsilon=limit, delta=float(said.delta))
    if said.epsilon is None:
        privacy = "".join(f"# {line}".replace("# # ", "# ") for line in privacy.splitlines(keepends=True))
    return _TOML.format(**quoted, superlink_port=said.superlink_port, privacy=privacy)


_PRIVACY = """\
[privacy]
# The most that the federation may cost a person over its life, at this delta. It opens the account; after that
# 'fedpersona server budget raise' changes it, for everyone to see. The delta never changes.
epsilon = {epsilon!r}
delta = {delta!r}
# What one training may cost; by default all that is left. A standing federation wants to say it: of n trainings that
# cost the same, each may cost more than epsilon / n.
# training_epsilon = {epsilon!r}
# Who adds the noise: "central", the server to the sum; "distributed", every device its share before it is masked.
noise = "central"
# A device answers at most one of so many rounds that follow each other.
separation = 1
"""

_TOML = """\
# A fedpersona server. Relative paths are relative to this file.
# Start it with: fedpersona serve --config server.toml

[federation]
# What devices know it by. It stands in every signed plan: it cannot change once devices have joined.
name = {name}
# Who runs it, why people are asked, and where they can ask back: shown on the public page.
operator = {operator}
purpose = "To learn which music goes together, so that every device can make better playlists."
contact = ""

[server]
# What devices use, always https.
address = {address}
# Where the front listens: the only address that other machines should reach.
listen = {listen}
# The front's certificate and key, PEM. With a certificate that every system trusts, leave 'authority' out.
certificate = "keys/front-certificate.pem"
key = "keys/front-key.pem"
authority = "keys/authority.pem"
# true: a proxy on this machine takes TLS off, and the front listens on 127.0.0.1 only.
behind_proxy = false
# Flower's SuperLink, on 127.0.0.1 only, with a certificate of its own.
superlink_port = {superlink_port}
superlink_certificate = "keys/superlink-certificate.pem"
superlink_key = "keys/superlink-key.pem"
superlink_authority = "keys/authority.pem"
# Health, metrics and the dashboard, for the operator: 127.0.0.1 only, they have no password.
ops = {ops}
# All that the server keeps.
state = "state"
# Signs catalogues, plans and models: keep a copy elsewhere. Devices trust no other key.
signing_key = "keys/operator-key.pem"

[model]
# popularity, subspace, ease or ials; its settings stand under [model.settings].
name = "subspace"
catalogue = "catalogue.fpc"

[rounds]
# Most devices that a round sums, and the fewest whose sum may be released. A device refuses fewer than 50 unless its
# owner lowers that: with less, most will decline.
cohort = 1000
min_count = 50
# Fewest devices present before a round begins; by default min_count.
# wait_for = 50
# Share of devices asked above what is wanted, against those that leave.
over_sampling = 0.2
# Seconds to wait for enough devices, for one answer of a device, and for late ones once the sum can do without them.
gather_seconds = 600
deadline_seconds = 600
linger_seconds = 30
# How often a round is tried before the training is given up.
attempts = 5
# Longest update of one device; 0: no longest.
clip = 64.0
# Whether only sums can be read. A device masks with so many neighbours, and so many of them (more than half) can take
# its masks off where it leaves: docs/secure-aggregation.md says how to choose. Devices refuse to mask with fewer than
# 40, or where less than 0.6 of them suffice, unless their owners lower that; give 48 or more: a device may get fewer.
masked = true
neighbours = 76
threshold = 56
# Whether devices count how well the shared model does on them; only the sum can be read.
metrics = true

# Differential privacy: noise on every sum, and an account of what all sums together may tell of a person, which no
# restart and no new training begins anew: docs/differential-privacy.md. It takes the place of 'clip' above.
{privacy}
[schedule]
# "one-shot": learn once; "standing": again and again.
kind = "one-shot"
# A standing federation learns anew after so many days, or once so many devices have enrolled since.
every_days = 7
# new_devices = 100

[limits]
# Of one request to the front, bytes.
largest_body = 33554432
# At one time.
connections = 4096
# A request that has not arrived by then is dropped.
slow_seconds = 30
enrolments_a_minute = 120
"""
