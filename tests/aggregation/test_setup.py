import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography import x509

from fedpersona.aggregation import setup
from fedpersona.aggregation.certificates import operator_public
from fedpersona.aggregation.config import ServerConfig
from fedpersona.aggregation.setup import NewServer, initialise, server_toml
from fedpersona.aggregation.supervisor import check_files
from fedpersona.catalogue import Catalogue
from fedpersona.errors import ConfigError, DataError, OutputError, UnsafeServer
from fedpersona.wire.signed_catalogue import unseal

CATALOGUE = Catalogue.create(["a", "b"], titles=["A", "B"], artists=["X", "Y"], kind="track")


def everything(folder):
    return {
        str(path.relative_to(folder)): (path.stat().st_mode, path.read_bytes() if path.is_file() else None)
        for path in sorted(folder.rglob("*"))
    }


def test_what_it_makes_loads_and_passes_every_check_of_serve(tmp_path):
    config = initialise(tmp_path / "new", NewServer(name="Jazz", operator='Ada "the" \\ Ö'), CATALOGUE)
    check_files(config)
    assert config == ServerConfig.load(tmp_path / "new" / "server.toml")
    assert (config.federation.name, config.federation.operator) == ("Jazz", 'Ada "the" \\ Ö')
    sealed = unseal(config.model.catalogue.read_bytes(), [operator_public(config.server.signing_key)])
    assert sealed.catalogue.version == CATALOGUE.version
    assert abs(sealed.issued - time.time()) < 60


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_keys_are_for_their_owner_only_whatever_the_umask(tmp_path, umask):
    if umask == 0o777 and os.geteuid() != 0:
        pytest.skip("only root works under such a umask")
    before = os.umask(umask)
    try:
        initialise(tmp_path / "new", NewServer(), CATALOGUE)
    finally:
        os.umask(before)
    keys = tmp_path / "new" / "keys"
    assert keys.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "new" / "state").stat().st_mode & 0o777 == 0o700
    private = sorted(path.name for path in keys.glob("*-key.pem"))
    assert private == ["authority-key.pem", "front-key.pem", "operator-key.pem", "superlink-key.pem"]
    for path in keys.iterdir():
        assert path.stat().st_mode & 0o777 == (0o600 if b"PRIVATE" in path.read_bytes() else 0o644)


def test_the_front_is_certified_for_its_names_and_for_loopback(tmp_path):
    server = NewServer(address="https://music.example.org", hosts=("10.0.0.7", "music.example.org", "other.example"))
    config = initialise(tmp_path / "new", server, CATALOGUE)
    found = x509.load_pem_x509_certificate(config.server.certificate.read_bytes())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["music.example.org", "other.example", "localhost"]
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.7", "127.0.0.1", "::1"]
    assert config.server.listen == "0.0.0.0:443"
    link = x509.load_pem_x509_certificate(config.server.superlink_certificate.read_bytes())
    assert link.issuer == found.issuer


@pytest.mark.parametrize(
    ("address", "listen"),
    [
        ("https://127.0.0.1:8443", "127.0.0.1:8443"),
        ("https://localhost:9443", "127.0.0.1:9443"),
        ("https://[::1]:9443", "[::1]:9443"),
        ("https://192.168.1.5:8443", "0.0.0.0:8443"),
        ("https://music.example.org/", "0.0.0.0:443"),
    ],
)
def test_it_listens_where_the_address_says(tmp_path, address, listen):
    if "192" not in address and "example" not in address:
        assert initialise(tmp_path / "new", NewServer(address=address), CATALOGUE).server.listen_at.loopback
    assert NewServer(address=address).with_listen().listen == listen


def test_a_second_one_refuses_and_changes_nothing(tmp_path):
    initialise(tmp_path, NewServer(), CATALOGUE)
    before = everything(tmp_path)
    with pytest.raises(OutputError, match="nothing was changed"):
        initialise(tmp_path, NewServer(name="Other"), CATALOGUE)
    assert everything(tmp_path) == before


@pytest.mark.parametrize("name", ["server.toml", "keys", "state", "catalogue.fpc"])
def test_what_lies_under_a_name_of_ours_is_never_touched(tmp_path, name):
    (tmp_path / name).write_bytes(b"mine")
    (tmp_path / "other").write_bytes(b"mine too")
    before = everything(tmp_path)
    with pytest.raises(OutputError, match=name):
        initialise(tmp_path, NewServer(), CATALOGUE)
    assert everything(tmp_path) == before


def test_other_files_in_the_folder_are_left_alone(tmp_path):
    (tmp_path / "compose.yml").write_bytes(b"mine")
    initialise(tmp_path, NewServer(), CATALOGUE)
    assert (tmp_path / "compose.yml").read_bytes() == b"mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["compose.yml", *setup._OURS])


@pytest.mark.parametrize(
    "server",
    [
        NewServer(name="a\nb"),
        NewServer(name=""),
        NewServer(address="http://a.example"),
        NewServer(address="https://"),
        NewServer(address="https://a.example:99999"),
        NewServer(address="https://a.example/b"),
        NewServer(listen="nowhere"),
        NewServer(ops="0.0.0.0:9100"),
        NewServer(superlink_port=8443),
        NewServer(operator="a" * 3000),
        NewServer(operator="a\x00\x7f\n"),
    ],
)
def test_what_no_server_could_be_leaves_no_folder_behind(tmp_path, server):
    folder = tmp_path / "new"
    if server.operator.startswith("a\x00"):  # strange, but TOML can say it
        assert initialise(folder, server, CATALOGUE).federation.operator == server.operator
        return
    with pytest.raises((ConfigError, UnsafeServer)) as caught:
        initialise(folder, server, CATALOGUE)
    assert "\n" not in str(caught.value).replace(server.name, "")
    assert not folder.exists()


@pytest.mark.parametrize("host", ["", "a b", "ö.example", "x" * 300])
def test_a_host_that_no_certificate_can_be_for_is_told(tmp_path, host):
    with pytest.raises(ConfigError, match="host"):
        initialise(tmp_path / "new", NewServer(hosts=(host,)), CATALOGUE)
    assert not (tmp_path / "new").exists()


def test_a_catalogue_that_no_device_would_take_leaves_nothing(tmp_path):
    strange = Catalogue.create(["a"], titles=["A\x00"], kind="track")
    (tmp_path / "other").write_bytes(b"mine")
    before = everything(tmp_path)
    with pytest.raises(DataError):
        initialise(tmp_path, NewServer(), strange)
    assert everything(tmp_path) == before


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="file"):
        initialise(tmp_path / "file" / "new", NewServer(), CATALOGUE)


KILLED = """
import os, signal, sys
from pathlib import Path
from fedpersona.aggregation import setup
from fedpersona.catalogue import Catalogue

steps = int(sys.argv[2])
def counting(real):
    def call(*arguments):
        global steps
        steps -= 1
        if steps < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)
    return call
setup._write = counting(setup._write)
setup._new_folder = counting(setup._new_folder)
setup._sync_folder = counting(setup._sync_folder)
Path.rename = counting(Path.rename)
setup.initialise(Path(sys.argv[1]), setup.NewServer(), Catalogue.create(["a"], kind="track"))
"""


@pytest.mark.parametrize("step", [0, 1, 4, 8, 9, 10, 11, 12, 13])
def test_killed_at_any_step_it_can_be_run_again(tmp_path, step):
    root = Path(__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "new"), str(step)], cwd=root, timeout=60, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    if (tmp_path / "new" / "server.toml").exists():  # then it is whole
        check_files(ServerConfig.load(tmp_path / "new" / "server.toml"))
        before = everything(tmp_path / "new" / "keys")
        with pytest.raises(OutputError):
            initialise(tmp_path / "new", NewServer(), CATALOGUE)
        assert everything(tmp_path / "new" / "keys") == before
    else:
        check_files(initialise(tmp_path / "new", NewServer(), CATALOGUE))
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(setup._OURS)


def test_two_at_once_do_not_mix(tmp_path):
    with setup._unfinished(tmp_path), pytest.raises(OutputError, match="another 'serve init'"):
        initialise(tmp_path, NewServer(), CATALOGUE)


def test_the_text_is_the_same_for_the_same_words():
    assert server_toml(NewServer(name="Jazz")) == server_toml(NewServer(name="Jazz"))
    assert 'name = "Jazz"' in server_toml(NewServer(name="Jazz"))
