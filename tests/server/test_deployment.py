"""What an operator deploys with, checked as far as it can be without a container engine."""

import configparser
import json
import os
import re
import shlex
import shutil
import signal
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml

from fedpersona.aggregation.certificates import Authority
from fedpersona.aggregation.front.fleet_proxy import FLEET_PATHS
from fedpersona.aggregation.setup import NewServer
from tests.serving import serving

ROOT = Path(__file__).resolve().parents[2]
SERVER = ROOT / "server"
PUBLIC = {"/", "/v1/transparency", "/v1/status", "/v1/bell", "/v1/catalogue", "/v1/release", "/v1/enrol"}
COMPOSE = yaml.safe_load((SERVER / "compose.yml").read_text())
SERVICES = COMPOSE["services"]
DOCKERFILE = (SERVER / "Dockerfile").read_text()
KNOWN = {
    *("FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK"),
    *("ENTRYPOINT", "CMD"),
}
SETTINGS = {
    *("build", "image", "command", "environment", "volumes", "networks", "network_mode", "ports", "depends_on"),
    *("profiles", "init", "read_only", "tmpfs", "cap_drop", "cap_add", "security_opt", "stop_grace_period", "ulimits"),
    "restart",
}


def instructions(name: str) -> list[str]:
    lines = DOCKERFILE.replace("\\\n", " ").splitlines()
    return [line.removeprefix(f"{name} ").strip() for line in lines if line.startswith(f"{name} ")]


def command_of(line: str) -> list[str]:
    return json.loads(line[line.index("[") :])


def helped(words: list[str]) -> None:
    """Hold that a ``fedpersona`` command with these options is one; paths are not looked at."""
    done = subprocess.run(
        [sys.executable, "-m", "fedpersona", *words, "--help"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


# -- the image --


def test_every_instruction_is_one_and_what_is_copied_exists_and_is_no_secret():
    lines = [line for line in DOCKERFILE.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
    assert {line.split()[0] for line in lines} <= KNOWN
    ignored = (SERVER / "Dockerfile.dockerignore").read_text().splitlines()
    assert next(line for line in ignored if line and line[0] not in "#!") == "*"
    for line in instructions("COPY"):
        *sources, _ = line.split()
        if sources[0].startswith("--from="):
            assert sources[0].removeprefix("--from=") in {one.split()[-1] for one in instructions("FROM")}
            continue
        for source in sources:
            assert (ROOT / source).exists(), source
            assert f"!{source.removeprefix('./')}" in ignored, f"the ignore file keeps {source} out of the image"
    assert instructions("USER") == ["fedpersona"]
    assert instructions("VOLUME") == ["/data"]
    assert DOCKERFILE.index("USER fedpersona") < DOCKERFILE.index("ENTRYPOINT")


def test_what_is_copied_is_all_that_the_package_is_built_from():
    copied = [source for line in instructions("COPY") if "--from" not in line for source in line.split()[:-1]]
    project = (ROOT / "pyproject.toml").read_text()
    for named in re.findall(r'(?:readme = |license-files = \[|packages = \[)"([^"]+)"', project):
        assert named in copied
    assert "targets.wheel.hooks.custom]" in project
    assert "hatch_build.py" in copied  # where a hook of this kind is kept


def test_the_images_command_and_its_health_check_hold_on_a_real_server(tmp_path):
    (entry,) = [command_of(line) for line in instructions("ENTRYPOINT")]
    (command,) = [command_of(line) for line in instructions("CMD")]
    (check,) = [command_of(line[line.index("CMD") :]) for line in instructions("HEALTHCHECK")]
    assert entry == ["fedpersona"]
    assert command[:2] == ["serve", "--config"]
    assert command == SERVICES["server"]["command"]
    helped(command[:1])
    default = f"http://{NewServer().ops}"
    with serving(tmp_path) as served:
        script = check[2].replace(default, served.ops)
        assert script != check[2]
        well = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=30)
        assert well.returncode == 0, well.stderr
        with urllib.request.urlopen(f"{served.ops}/metrics", timeout=10) as answer:
            assert b"fedpersona_devices" in answer.read()
    assert subprocess.run([sys.executable, "-c", script], stderr=subprocess.DEVNULL, timeout=30).returncode != 0


# -- compose --


def test_compose_publishes_443_only_and_every_part_it_names_is_there():
    assert {name: one["ports"] for name, one in SERVICES.items() if "ports" in one and "profiles" not in one} == {
        "caddy": ["443:443"]
    }
    published = [port for one in SERVICES.values() for port in one.get("ports", ())]
    assert all(port == "443:443" or port.startswith("127.0.0.1:") for port in published)
    for name, one in SERVICES.items():
        assert set(one) <= SETTINGS, name
        assert ("network_mode" in one) != ("networks" in one), name
        assert one.get("network_mode", "service:caddy") == "service:caddy"
        assert set(one.get("networks", ())) <= set(COMPOSE["networks"])
        assert set(one.get("depends_on", ())) <= set(SERVICES)
        for volume in one.get("volumes", ()):
            source = volume.partition(":")[0]
            assert (SERVER / source).is_file() if source.startswith(".") else source in COMPOSE["volumes"]
    build = SERVICES["server"]["build"]
    assert (SERVER / build["context"] / build["dockerfile"]).resolve() == SERVER / "Dockerfile"
    assert SERVICES["server"]["volumes"] == ["state:/data"]


def test_what_compose_says_of_the_server_is_a_configuration_behind_a_proxy(tmp_path, monkeypatch):
    from fedpersona.aggregation.config import ServerConfig
    from fedpersona.aggregation.setup import initialise
    from fedpersona.device import starter

    address = "https://taste.example"
    made = initialise(tmp_path / "s", NewServer(address=address, listen="127.0.0.1:8443"), starter.catalogue())
    made.file.write_text(re.sub("(?m)^authority.*\n", "", made.file.read_text()))  # as the comment says
    for name, value in SERVICES["server"]["environment"].items():
        monkeypatch.setenv(name, value)
    server = ServerConfig.load(made.file).server
    assert (server.behind_proxy, server.listen, server.authority) == (True, "127.0.0.1:8443", None)


def test_the_commands_in_comments_are_commands():
    text = (SERVER / "compose.yml").read_text() + (SERVER / "fedpersona.service").read_text()
    text = text.replace("\\\n#", " ")
    found = re.findall(r"serve init \S+ [^\n]*|fedpersona server enrol[^\n]*", text)
    assert len(found) == 3
    for line in found:
        words = shlex.split(line.removeprefix("fedpersona "))
        helped(words[: words.index("init") + 1] if "init" in words else words[:2])


def test_prometheus_asks_the_address_that_a_new_server_has():
    (job,) = yaml.safe_load((SERVER / "prometheus.yml").read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": [NewServer().ops]}]
    assert json.loads((SERVER / "grafana.json").read_text())["panels"]


# -- proxies --


@pytest.mark.parametrize("name", ["Caddyfile", "nginx.conf"])
def test_a_proxy_names_what_devices_and_people_need_and_nothing_else(name):
    text = (SERVER / name).read_text()
    for path in (FLEET_PATHS | PUBLIC) - {"/"}:
        assert re.search(rf"\b{re.escape(path.rpartition('/')[2])}\b", text), path
    lines = "\n".join(line.partition("#")[0] for line in text.splitlines())
    for closed in ("control", "runtime", "register-node", "get-fab", "metrics", "healthz", "9100", "9092"):
        assert closed not in lines
    assert set(re.findall(r"127\.0\.0\.1:\d+", text)) == {"127.0.0.1:8443"}


def test_the_front_has_no_page_that_the_proxies_do_not_know():
    from fedpersona.aggregation.front import app

    routes = set(re.findall(r'Route\("([^"]+)"', Path(app.__file__).read_text()))
    assert routes == PUBLIC | {"/v1/models/{hash}", "/v1/fleet/{name}"}


def test_nginx_takes_as_large_a_body_as_the_front():
    from fedpersona.aggregation.config import LimitsConfig

    assert LimitsConfig().largest_body == 32 << 20
    assert "client_max_body_size 32m;" in (SERVER / "nginx.conf").read_text()
    assert "max_size 32MiB" in (SERVER / "Caddyfile").read_text()


def nginx(folder: Path, config) -> tuple[list[str], dict[str, str]]:
    """Return the command of an nginx before a server, its configuration changed in places and names only."""
    server = config.server
    text = (SERVER / "nginx.conf").read_text()
    for before, after in {
        "/run/nginx.pid": f"{folder}/nginx.pid",
        "/var/log/nginx/error.log": f"{folder}/nginx.log",
        "/etc/letsencrypt/live/taste.example/fullchain.pem": str(server.certificate),
        "/etc/letsencrypt/live/taste.example/privkey.pem": str(server.key),
        "listen 443 ssl": f"listen {address(config)} ssl",
        "127.0.0.1:8443": server.listen,
        "worker_processes auto": "worker_processes 1",
        "worker_connections 16384": "worker_connections 256",
    }.items():
        assert before in text, before
        text = text.replace(before, after)
    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"):
        text = text.replace("http {", f"http {{\n    {kind}_temp_path {folder}/{kind};", 1)
    file = folder / "nginx.conf"
    file.write_text(text)
    # Started as root it would give up its rights, and could not read the test's folder.
    user = ["-g", "daemon off; user root;"] if os.geteuid() == 0 else ["-g", "daemon off;"]
    return ["nginx", "-p", str(folder), "-c", str(file), *user], {}


def caddy(folder: Path, config) -> tuple[list[str], dict[str, str]]:
    """Return the command of a caddy before a server."""
    server = config.server
    text = (SERVER / "Caddyfile").read_text()
    for before, after in {
        "{$FEDPERSONA_DOMAIN:localhost} {": f"https://{address(config)} {{\n\ttls {server.certificate} {server.key}",
        "\tadmin off": f"\tadmin off\n\tdefault_sni localhost\n\tstorage file_system {folder}/caddy",
        "127.0.0.1:8443": server.listen,
    }.items():
        assert before in text, before
        text = text.replace(before, after)
    file = folder / "Caddyfile"
    file.write_text(text)
    environment = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(file)], environment


def address(config) -> str:
    return config.server.address.removeprefix("https://")


@pytest.mark.parametrize("proxy", [nginx, caddy])
def test_devices_take_part_through_the_proxy_and_the_other_doors_are_not_there(proxy, tmp_path, monkeypatch):
    if shutil.which(proxy.__name__) is None:
        pytest.skip(f"{proxy.__name__} is not installed")
    from fedpersona.device.device import Device
    from fedpersona.device.policy import Policy
    from tests.serving import free_port

    monkeypatch.setenv("FEDPERSONA_PASSPHRASE", "of a test")
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    with serving(
        tmp_path,
        settings={"dim": 4, "rounds": 1},
        server__listen=f"127.0.0.1:{free_port()}",
        server__behind_proxy=True,
        rounds__masked=False,
        rounds__cohort=2,
        rounds__min_count=2,
    ) as served:
        command, environment = proxy(tmp_path, served.config)
        log = (tmp_path / "proxy.txt").open("wb")
        running = subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log)
        try:
            said = lambda: (tmp_path / "proxy.txt").read_text()  # noqa: E731
            served.until(lambda: running.poll() is not None or answers(served), 30.0, "the proxy")
            assert running.poll() is None, said()
            devices = [Device.open(tmp_path / f"d{number}") for number in range(2)]
            try:
                for device, invitation in zip(devices, served.invite(2), strict=True):
                    device.policy = Policy(allow_unmasked=True, least_cohort=2)
                    device.enrol(invitation)
                    device.consent.grant("share_update", server=served.address)
                    device.join(served.address, wait=0)
                served.until(lambda: all(one.status()["shared_model"] for one in devices), 90.0, "a model by the proxy")
            finally:
                for device in devices:
                    device.close()
            for path in PUBLIC - {"/v1/enrol"}:
                assert served.ask(path).status_code == 200, path
            for path in (
                *("/v1/control/list-runs", "/v1/control/start-run", "/v1/runtime/pull-messages", "/v1/fleet/get-fab"),
                *("/v1/fleet/register-node", "/health", "/healthz", "/readyz", "/metrics", "/v1/rounds", "/docs"),
                *("/v1/fleet/..%2fcontrol/list-runs", "/v1//status", "/v1/status/", "/v1/models/x"),
            ):
                assert served.ask(path).status_code == 404, path
        finally:
            running.terminate()
            running.wait(20)
            log.close()


def answers(served) -> bool:
    import httpx

    try:
        return served.ask("/v1/status").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.skipif(shutil.which("caddy") is None, reason="caddy is not installed")
def test_caddy_takes_its_configuration_as_it_is(tmp_path):
    done = subprocess.run(
        ["caddy", "validate", "--adapter", "caddyfile", "--config", str(SERVER / "Caddyfile")],
        env={**os.environ, "FEDPERSONA_DOMAIN": "taste.example", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


# -- systemd --


def unit() -> configparser.SectionProxy:
    found = configparser.ConfigParser(strict=False, interpolation=None)
    found.optionxform = str
    found.read(SERVER / "fedpersona.service")
    return found["Service"]


def test_the_unit_runs_our_command_as_a_user_of_its_own_with_little_power():
    service = unit()
    program, *words = shlex.split(service["ExecStart"])
    assert Path(program).name == "fedpersona"
    assert words[:2] == ["serve", "--config"]
    assert words[2].startswith(f"/var/lib/{service['StateDirectory']}/")
    helped(words[:1])
    assert service["User"] == "fedpersona"
    assert service["ProtectSystem"] == "strict"
    assert service["NoNewPrivileges"] == service["ProtectHome"] == service["PrivateTmp"] == "true"
    assert service["CapabilityBoundingSet"] == ""


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_unit(tmp_path):
    text = (SERVER / "fedpersona.service").read_text()
    text = text.replace("/opt/fedpersona/bin/fedpersona serve", f"{sys.executable} serve")  # it has to exist
    (tmp_path / "fedpersona.service").write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / "fedpersona.service")], capture_output=True, text=True
    )
    assert "fedpersona.service:" not in done.stderr, done.stderr


def test_what_the_unit_sends_for_a_reload_lets_the_server_show_its_new_certificate(tmp_path):
    assert unit()["ExecReload"] == "/bin/kill -HUP $MAINPID"
    with serving(tmp_path) as served:
        server = served.config.server
        before = shown(served)
        authority = Authority.load(server.authority, server.authority.with_name("authority-key.pem"))
        issued = authority.issue("127.0.0.1", ["127.0.0.1"])
        server.certificate.write_bytes(issued.certificate)
        server.key.write_bytes(issued.key)
        served.process.send_signal(signal.SIGHUP)
        served.until(lambda: shown(served) != before, 10.0, "the new certificate")
        assert shown(served) == ssl.PEM_cert_to_DER_cert(issued.certificate.decode().partition("-----END")[0] + END)


END = "-----END CERTIFICATE-----\n"


def shown(served) -> bytes:
    import socket

    at = served.config.server.listen_at
    tls = ssl.create_default_context(cafile=served.config.server.authority)
    with socket.create_connection((at.host, at.port), 10) as raw, tls.wrap_socket(raw, server_hostname=at.host) as link:
        return link.getpeercert(binary_form=True)
