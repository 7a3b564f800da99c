"""What an operator decides, in one TOML file: ``server.toml``.

Relative paths are relative to the file. An environment variable ``FEDPERSONA_SERVE_<SECTION>__<NAME>`` comes before
the file, for machines that are set up from outside, such as ``FEDPERSONA_SERVE_SERVER__LISTEN=0.0.0.0:8443``.
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from fedpersona.aggregation.superlink import SuperLink
from fedpersona.errors import ConfigError, DataError, DataNotFound, UnsafeServer
from fedpersona.privacy.secagg import MOST_DEVICES, Parameters
from fedpersona.privacy.secagg.parameters import LEAST_ROSTER
from fedpersona.taste.model import TasteModel
from fedpersona.taste.registry import create
from fedpersona.wire.plan import NEIGHBOURS, THRESHOLD, Setting

__all__ = [
    "Endpoint",
    "FederationConfig",
    "LimitsConfig",
    "ModelConfig",
    "PrivacyConfig",
    "RoundsConfig",
    "ScheduleConfig",
    "ServerConfig",
    "ServerSection",
]

_FEDERATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,79}")  # as an invitation has it
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_LARGEST_FILE = 1 << 20  # bytes; ours have a few thousand


class Endpoint(str):
    """``host:port``, with an IPv6 host in brackets."""

    __slots__ = ()

    @property
    def host(self) -> str:
        """The host, without brackets."""
        return self.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port."""
        return int(self.rpartition(":")[2])

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def _named(text: str) -> str:
    if not _FEDERATION.fullmatch(text):
        raise ValueError("is a name of up to 80 letters, digits, blanks, '.', '_' and '-'")
    return text


def _endpoint(text: str) -> Endpoint:
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535):
        raise ValueError("is 'host:port' with a port of 1 to 65535")
    if host.startswith("[") and host.endswith("]"):
        ipaddress.IPv6Address(host[1:-1])
    elif not _HOST.fullmatch(host):
        raise ValueError("is 'host:port', an IPv6 host in brackets")
    return Endpoint(text)


def _address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme != "https" or not parts.hostname or parts.port == 0:
        raise ValueError("is what devices use: https://host or https://host:port")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
        raise ValueError("is https://host or https://host:port, with nothing after it")
    return text.rstrip("/")


Words = Annotated[str, Field(max_length=2000)]
Listening = Annotated[str, AfterValidator(_endpoint)]
Port = Annotated[int, Field(ge=1, le=65_535)]
Seconds = Annotated[float, Field(gt=0, le=31 * 86_400, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)


class FederationConfig(_Section):
    """Who asks, and why: shown to the people whose devices join."""

    name: Annotated[str, AfterValidator(_named)]
    """What devices know it by; it stands in every signed plan."""
    operator: Words = ""
    """Who runs it."""
    purpose: Words = "To learn which music goes together, so that every device can make better playlists."
    """Why devices are asked."""
    contact: Words = ""
    """Where to ask or complain."""


class ServerSection(_Section):
    """Where the server is, and what it proves itself with."""

    address: Annotated[str, AfterValidator(_address)]
    """What devices use: ``https://…``, without a slash at its end."""
    listen: Listening = Endpoint("127.0.0.1:8443")
    """Where the front listens: the only address that other machines reach."""
    certificate: Path | None = None
    """PEM chain of the front; may be absent behind a proxy only."""
    key: Path | None = None
    """PEM private key of the front."""
    authority: Path | None = None
    """PEM certificate that devices pin; absent: those that their system trusts."""
    behind_proxy: bool = False
    """Whether a proxy on this machine takes TLS off, so that the front speaks plain HTTP on loopback."""
    superlink_port: Port = 9092
    """Port of Flower's SuperLink, on 127.0.0.1."""
    superlink_certificate: Path = Path("keys/superlink-certificate.pem")
    """PEM certificate of the SuperLink, for 127.0.0.1."""
    superlink_key: Path = Path("keys/superlink-key.pem")
    """PEM private key of the SuperLink."""
    superlink_authority: Path = Path("keys/authority.pem")
    """PEM certificate of the authority that signed the SuperLink's, used on this machine only."""
    ops: Listening = Endpoint("127.0.0.1:9100")
    """Where health, metrics and the dashboard are, for the operator: loopback."""
    state: Path = Path("state")
    """Folder of all that the server keeps."""
    signing_key: Path = Path("keys/operator-key.pem")
    """PEM Ed25519 private key that signs catalogues, plans and models."""

    @model_validator(mode="after")
    def _whole(self) -> ServerSection:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("needs both a certificate and its key, or neither")
        if len({self.listen_at.port, self.ops_at.port, self.superlink_port}) < 3:
            raise ValueError("needs three different ports for listen, ops and superlink_port")
        return self

    @property
    def listen_at(self) -> Endpoint:
        """Host and port of the front."""
        return Endpoint(self.listen)

    @property
    def ops_at(self) -> Endpoint:
        """Host and port of the operator's pages."""
        return Endpoint(self.ops)


class ModelConfig(_Section):
    """What is learned, over which catalogue."""

    name: str = "subspace"
    settings: dict[str, Setting] = Field(default_factory=dict)
    """The model's settings by name; those left out are as the model has them."""
    catalogue: Path = Path("catalogue.fpc")
    """A catalogue sealed by the operator's key."""

    @model_validator(mode="after")
    def _known(self) -> ModelConfig:
        self.create()
        return self

    def create(self) -> TasteModel:
        """Return the taste model with these settings."""
        return create(self.name, self.settings)


class RoundsConfig(_Section):
    """How a round is held."""

    cohort: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    """Most devices whose updates a round sums."""
    min_count: Annotated[int, Field(ge=1)] = 50
    """Fewest devices whose sum may be released; devices refuse fewer than 50 unless their owners lower that."""
    wait_for: Annotated[int, Field(ge=1)] = Field(default_factory=lambda data: data.get("min_count", 1))
    """Fewest devices present before a round begins; by default ``min_count``."""
    over_sampling: Annotated[float, Field(ge=0, le=10)] = 0.2
    """Share of devices asked above the cohort, where so many are there, against those that leave; the sum is of at
    most ``cohort`` all the same."""
    gather_seconds: Seconds = 600.0
    """How long a round waits for enough devices before it says that it waits."""
    deadline_seconds: Seconds = 600.0
    """How long devices have for one answer; a round has five exchanges."""
    linger_seconds: Seconds = 30.0
    """How long late devices are waited for in an exchange, once the sum can be opened without them."""
    attempts: Annotated[int, Field(ge=1, le=1000)] = 5
    """How often a round is tried before the training is given up."""
    clip: Annotated[Annotated[float, Field(ge=0)] | None, AfterValidator(lambda longest: longest or None)] = 64.0
    """Longest update of a device; written as 0 it is None: no longest."""
    masked: bool = True
    """Whether only sums can be read."""
    neighbours: Annotated[int, Field(ge=2)] = NEIGHBOURS
    """How many others a device masks with, and shares its secrets; an even number."""
    threshold: Annotated[int, Field(ge=2)] = THRESHOLD
    """How many of so many neighbours recover what a device shared: more than half. The more, the fewer may leave."""

    metrics: bool = True
    """Whether devices count how well the shared model does on them; only sums of it can be read."""

    @property
    def masks(self) -> Parameters:
        """Both numbers, as secure aggregation takes them."""
        return Parameters(self.neighbours, self.threshold)

    @model_validator(mode="after")
    def _fits(self) -> RoundsConfig:
        if self.masked and self.cohort > MOST_DEVICES:
            raise ValueError(f"cohort is {self.cohort:,}: devices mask among {MOST_DEVICES:,} at most")
        try:
            _ = self.masks
        except ConfigError as error:
            raise ValueError(str(error)) from None
        if self.min_count > self.cohort:
            raise ValueError(f"min_count is {self.min_count}, above the cohort of {self.cohort}")
        if self.masked and self.min_count < LEAST_ROSTER:
            raise ValueError(
                f"min_count is {self.min_count}: give {LEAST_ROSTER} or more where updates are masked: "
                "of two devices each knows the other's update from the sum"
            )
        if not self.min_count <= self.wait_for <= self.cohort:
            raise ValueError(f"wait_for is {self.wait_for}: give from min_count to cohort")
        return self


class PrivacyConfig(_Section):
    """What the federation may cost a person: differential privacy, over all its life."""

    epsilon: Annotated[float, Field(gt=0, le=1000)]
    """Largest ε of all trainings together. It opens the account; after that the limit in the account counts."""
    delta: Annotated[float, Field(gt=0, lt=1)]
    """The δ that belongs to it; it cannot change once the account is open."""
    training_epsilon: Annotated[float, Field(gt=0, le=1000)] | None = None
    """What one training costs if no sum is lost and paid for again; by default all that is left."""
    noise: Literal["central", "distributed"] = "central"
    """Who adds the noise: the server to the sum, or every device its share before it is masked."""
    separation: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """A device answers at most one of so many rounds that follow each other."""

    @model_validator(mode="after")
    def _fits(self) -> PrivacyConfig:
        if self.training_epsilon is not None and self.training_epsilon > self.epsilon:
            raise ValueError(f"training_epsilon is {self.training_epsilon:g}, above the epsilon of {self.epsilon:g}")
        return self


class ScheduleConfig(_Section):
    """When a training begins."""

    kind: Literal["one-shot", "standing"] = "one-shot"
    """``one-shot``: once; ``standing``: again and again."""
    every_days: Annotated[float, Field(gt=0, le=3660)] = 7.0
    """A standing federation learns anew after so many days."""
    new_devices: Annotated[int, Field(ge=1)] | None = None
    """A standing federation learns anew earlier, once so many devices have enrolled since."""


class LimitsConfig(_Section):
    """What the front takes from anyone."""

    largest_body: Annotated[int, Field(ge=1024, le=1 << 32)] = 32 << 20
    """Bytes of one request; updates travel in pieces of up to 20 MiB."""
    connections: Annotated[int, Field(ge=1, le=100_000)] = 4096
    """Connections at one time."""
    slow_seconds: Seconds = 30.0
    """A request that has not arrived by then is dropped."""
    enrolments_a_minute: Annotated[int, Field(ge=1)] = 120
    """Enrolments tried, over all devices: a token cannot be guessed, and the processor is not for sale."""


class ServerConfig(BaseSettings):
    """All of ``server.toml``."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        env_prefix="FEDPERSONA_SERVE_",
        env_nested_delimiter="__",
        env_ignore_empty=True,
    )

    federation: FederationConfig
    server: ServerSection
    model: ModelConfig = ModelConfig()
    rounds: RoundsConfig = RoundsConfig()
    privacy: PrivacyConfig | None = None
    schedule: ScheduleConfig = ScheduleConfig()
    limits: LimitsConfig = LimitsConfig()
    _file: Path = PrivateAttr(default=Path("server.toml"))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment before the file, and nothing else."""
        return env_settings, init_settings

    @model_validator(mode="after")
    def _noise_is_accounted_for(self) -> ServerConfig:
        if "noise" in self.model.settings:
            raise ValueError("[model.settings] noise is worked out from [privacy]: leave it out")
        if self.privacy is not None and self.privacy.noise == "distributed" and not self.rounds.masked:
            raise ValueError("[privacy] noise = 'distributed' needs masks: say masked = true, or noise = 'central'")
        return self

    @property
    def file(self) -> Path:
        """The file it was read from, absolute."""
        return self._file

    @property
    def database(self) -> Path:
        """The server's own database."""
        return self.server.state / "fedpersona.db"

    @property
    def budget(self) -> Path:
        """The account of the privacy budget."""
        return self.server.state / "budget.jsonl"

    @property
    def models(self) -> Path:
        """Folder of the models and checkpoints."""
        return self.server.state / "models"

    @property
    def logs(self) -> Path:
        """Folder of the logs."""
        return self.server.state / "logs"

    def superlink(self) -> SuperLink:
        """Return where the SuperLink listens and keeps its state."""
        server = self.server
        return SuperLink(
            port=server.superlink_port,
            certificate=server.superlink_certificate,
            key=server.superlink_key,
            authority=server.superlink_authority,
            database=server.state / "superlink.db",
            home=server.state / "flower",
        )

    @classmethod
    def load(cls, path: str | Path) -> ServerConfig:
        """Read and check a configuration.

        Raises:
            DataNotFound: there is no such file.
            DataError: it is no TOML.
            ConfigError: a section or setting is unknown, missing or out of its range.
            UnsafeServer: it would speak without TLS to other machines.
        """
        file = Path(path).absolute()
        found = _toml(file)
        try:
            config = cls(**found)
        except ValidationError as error:
            raise ConfigError(_sentence(file, error)) from None
        except ConfigError as error:
            raise ConfigError(f"{file}: [model]: {error}") from None
        config = config._based(file.parent)
        config._file = file
        config.check_safe()
        return config

    def _based(self, folder: Path) -> ServerConfig:
        """Return the same with every path absolute."""
        server = self.server.model_copy(update=_absolute(self.server, folder))
        model = self.model.model_copy(update=_absolute(self.model, folder))
        return self.model_copy(update={"server": server, "model": model})

    def check_safe(self) -> None:
        """Refuse to speak without TLS to other machines.

        Raises:
            UnsafeServer: it would.
        """
        server = self.server
        if server.behind_proxy and not server.listen_at.loopback:
            raise UnsafeServer(
                f"{self.file}: [server] behind_proxy is for a proxy on this machine, but listen is {server.listen}, "
                "which others reach without TLS: listen on 127.0.0.1, or give a certificate and leave behind_proxy out"
            )
        if not server.behind_proxy and server.certificate is None:
            raise UnsafeServer(
                f"{self.file}: [server] has no certificate: make one with 'fedpersona serve init', or put a proxy that "
                "takes TLS off before it and say behind_proxy = true"
            )
        if not server.ops_at.loopback:
            raise UnsafeServer(
                f"{self.file}: [server] ops is {server.ops}, which others reach: it has no password; use 127.0.0.1"
            )


def _absolute(section: BaseModel, folder: Path) -> dict[str, Path]:
    paths = {name: value for name, value in section if isinstance(value, Path)}
    return {name: folder / value.expanduser() for name, value in paths.items()}


def _toml(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise DataNotFound("no server is configured here: begin with 'fedpersona serve init'", path=file)
    raw = file.read_bytes()
    if len(raw) > _LARGEST_FILE:
        raise DataError("is no configuration of a server: it is too long", path=file)
    try:
        return tomllib.loads(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise DataError("is not UTF-8: save it as UTF-8", path=file) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise DataError(f"is no TOML: {error}", path=file) from None


_WORDS: dict[str, Callable[[str], str]] = {
    "missing": lambda place: f"'{place}' is missing",
    "extra_forbidden": lambda place: f"'{place}' is no setting: see the commented example, server/server.toml",
}


def _sentence(file: Path, error: ValidationError) -> str:
    """Return the first problem in words; a value is not repeated, it may be what nobody should read."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "server.toml"
    say = _WORDS.get(first["type"])
    what = say(place) if say else f"'{place}': {first['msg'].removeprefix('Value error, ')}"
    return f"{file}: {what}"
