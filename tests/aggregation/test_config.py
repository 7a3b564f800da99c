from pathlib import Path

import pytest

from fedpersona.aggregation.config import Endpoint, ServerConfig
from fedpersona.aggregation.setup import NewServer, server_toml
from fedpersona.errors import ConfigError, DataError, DataNotFound, InputError, UnknownName, UnsafeServer
from fedpersona.privacy.secagg import Parameters

EXAMPLE = Path(__file__).parents[2] / "server" / "server.toml"

LEAST = {
    "federation": 'name = "Jazz"',
    "server": 'address = "https://127.0.0.1:8443"\ncertificate = "keys/c.pem"\nkey = "keys/k.pem"',
}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    import os

    for name in list(os.environ):
        if name.upper().startswith("FEDPERSONA_SERVE_"):
            monkeypatch.delenv(name)


def written(folder, **sections):
    text = "\n".join(f"[{name}]\n{body}" for name, body in {**LEAST, **sections}.items())
    path = folder / "server.toml"
    path.write_text(text, encoding="utf-8")
    return path


def load(folder, **sections):
    return ServerConfig.load(written(folder, **sections))


def test_the_example_loads_and_is_what_init_writes():
    assert EXAMPLE.read_text("utf-8") == server_toml(NewServer())
    config = ServerConfig.load(EXAMPLE)
    assert config.server.certificate == EXAMPLE.parent / "keys" / "front-certificate.pem"
    assert config.file == EXAMPLE.absolute()


def test_every_setting_of_the_example_is_the_default_so_that_it_tells_no_lie(tmp_path):
    example, least = ServerConfig.load(EXAMPLE), load(tmp_path)
    assert (example.rounds, example.schedule, example.limits) == (least.rounds, least.schedule, least.limits)


def test_paths_are_relative_to_the_file_and_not_to_where_one_stands(tmp_path, monkeypatch):
    path = written(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    config = ServerConfig.load(Path("..") / "server.toml")
    for found in (config.server.state, config.database, config.server.signing_key, config.model.catalogue):
        assert found.resolve().is_relative_to(path.parent.resolve())
        assert not found.resolve().is_relative_to(elsewhere.resolve())
    absolute = LEAST["server"] + '\nstate = "/srv/x"'
    assert load(tmp_path, server=absolute).server.state == Path("/srv/x")


def test_the_environment_comes_before_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("FEDPERSONA_SERVE_SERVER__LISTEN", "0.0.0.0:9443")
    monkeypatch.setenv("FEDPERSONA_SERVE_ROUNDS__MIN_COUNT", "7")
    config = load(tmp_path)
    assert (config.server.listen, config.rounds.min_count, config.rounds.wait_for) == ("0.0.0.0:9443", 7, 7)
    assert config.server.certificate == tmp_path / "keys/c.pem"


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"server": LEAST["server"] + "\nbehind_proxy = true\nlisten = '0.0.0.0:80'"}, "behind_proxy"),
        ({"server": LEAST["server"] + "\nbehind_proxy = true\nlisten = '[::]:80'"}, "behind_proxy"),
        ({"server": LEAST["server"] + "\nbehind_proxy = true\nlisten = 'example.org:80'"}, "behind_proxy"),
        ({"server": "address = 'https://a.example'"}, "no certificate"),
        ({"server": LEAST["server"] + "\nops = '0.0.0.0:9100'"}, "no password"),
        ({"server": LEAST["server"] + "\nops = '192.168.1.5:9100'"}, "no password"),
    ],
)
def test_a_server_that_would_speak_in_clear_to_others_is_not_even_loaded(tmp_path, sections, words):
    with pytest.raises(UnsafeServer, match=words):
        load(tmp_path, **sections)


@pytest.mark.parametrize("listen", ["127.0.0.1:80", "[::1]:80", "localhost:80", "127.8.9.1:80"])
def test_behind_a_proxy_on_this_machine_no_certificate_is_needed(tmp_path, listen):
    config = load(tmp_path, server=f"address = 'https://a.example'\nbehind_proxy = true\nlisten = '{listen}'")
    assert config.server.listen_at.loopback
    assert config.server.certificate is None


@pytest.mark.parametrize(
    ("sections", "place"),
    [
        ({"server": LEAST["server"] + "\nlissten = 'x'"}, "server.lissten"),
        ({"sever": "a = 1"}, "sever"),
        ({"federation": "operator = 'me'"}, "federation.name"),
        ({"federation": "name = 'a\\nb'"}, "federation"),
        ({"federation": 'name = "<script>"'}, "federation.name"),
        ({"server": "address = 'http://a.example'"}, "server.address"),
        ({"server": "address = 'https://a.example/path'"}, "server.address"),
        ({"server": "address = 'https://me:hunter2@a.example'"}, "server.address"),
        ({"server": "address = 'https://a.example:99999'"}, "server.address"),
        ({"server": LEAST["server"] + "\nlisten = '8443'"}, "server.listen"),
        ({"server": LEAST["server"] + "\nlisten = '127.0.0.1:0'"}, "server.listen"),
        ({"server": LEAST["server"] + "\nlisten = '::1:8443'"}, "server.listen"),
        ({"server": LEAST["server"] + "\nlisten = '[::g]:8443'"}, "server.listen"),
        ({"server": LEAST["server"] + "\nlisten = '127.0.0.1:9100'"}, "three different ports"),
        ({"server": "address = 'https://a.example'\nkey = 'k'"}, "both a certificate"),
        ({"model": "name = 'subspce'"}, "subspce"),
        ({"model": "[model.settings]\ndimm = 3"}, "dimm"),
        ({"rounds": "cohort = 0"}, "rounds.cohort"),
        ({"rounds": "cohort = 10\nmin_count = 11"}, "min_count is 11"),
        ({"rounds": "wait_for = 3"}, "wait_for is 3"),
        ({"rounds": "cohort = 'many'"}, "rounds.cohort"),
        ({"rounds": "min_count = 1.5"}, "rounds.min_count"),
        ({"rounds": "deadline_seconds = 0"}, "rounds.deadline_seconds"),
        ({"rounds": "deadline_seconds = inf"}, "rounds.deadline_seconds"),
        ({"rounds": "over_sampling = nan"}, "rounds.over_sampling"),
        ({"rounds": "linger_seconds = 0"}, "rounds.linger_seconds"),
        ({"rounds": "linger_seconds = nan"}, "rounds.linger_seconds"),
        ({"rounds": "neighbours = 5"}, "neighbours is 5: give an even number from 2 to 1,024"),
        ({"rounds": "neighbours = 0"}, "rounds.neighbours"),
        ({"rounds": "neighbours = 1026"}, "neighbours is 1,026: give an even number from 2 to 1,024"),
        ({"rounds": "cohort = 200000"}, "devices mask among 131,072 at most"),
        ({"rounds": "neighbours = 10"}, "threshold is 56: give more than half of the 10 neighbours, at most all"),
        ({"rounds": "threshold = 38"}, "threshold is 38: give more than half of the 76 neighbours, at most all"),
        ({"rounds": "threshold = 77"}, "threshold is 77: give more than half of the 76 neighbours, at most all"),
        ({"rounds": "threshold = 50.5"}, "rounds.threshold"),
        ({"rounds": "min_count = 2"}, "min_count is 2: give 3 or more"),
        ({"rounds": "cohort = 2"}, "rounds"),
        ({"rounds": "clip = -1"}, "rounds.clip"),
        ({"rounds": "clip = inf"}, "rounds.clip"),
        ({"schedule": "kind = 'weekly'"}, "schedule.kind"),
        ({"schedule": "every_days = 0"}, "schedule.every_days"),
        ({"limits": "largest_body = 1"}, "limits.largest_body"),
    ],
)
def test_what_is_wrong_is_named_with_its_place_in_one_sentence(tmp_path, sections, place):
    with pytest.raises(InputError) as caught:
        load(tmp_path, **sections)
    assert isinstance(caught.value, ConfigError | DataError)
    assert place in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_an_unknown_model_is_told_with_those_there_are(tmp_path):
    with pytest.raises(ConfigError, match="subspace") as caught:
        load(tmp_path, model="name = 'x'")
    assert not isinstance(caught.value, UnknownName)
    assert str(tmp_path / "server.toml") in str(caught.value)


@pytest.mark.parametrize(
    "raw", [b"[federation\n", b"\xff\xfe", b"\x00", b"a = " + b"[" * 100_000, b"a" * (1 << 20) + b"b"]
)
def test_bytes_that_are_no_toml_are_a_data_error(tmp_path, raw):
    path = tmp_path / "server.toml"
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"server\.toml"):
        ServerConfig.load(path)


def test_no_file_and_a_folder_say_how_to_begin(tmp_path):
    for path in (tmp_path, tmp_path / "none.toml"):
        with pytest.raises(DataNotFound, match="serve init"):
            ServerConfig.load(path)


def test_no_longest_update_is_written_as_0(tmp_path):
    assert load(tmp_path, rounds="clip = 0").rounds.clip is None
    assert load(tmp_path, rounds="clip = 2").rounds.clip == 2.0
    assert load(tmp_path).rounds.clip == 64.0


def test_without_masks_a_round_may_be_of_one_device_and_with_them_of_three(tmp_path):
    assert load(tmp_path, rounds="masked = false\nmin_count = 1").rounds.min_count == 1
    assert load(tmp_path, rounds="min_count = 3").rounds.min_count == 3


def test_neighbours_and_threshold_are_what_a_secure_sum_takes(tmp_path):
    masks = load(tmp_path, rounds="neighbours = 20\nthreshold = 15").rounds.masks
    assert (masks.neighbours, masks.threshold) == (20, 15)
    assert load(tmp_path).rounds.masks == Parameters()


def test_it_cannot_be_changed_after_it_was_checked(tmp_path):
    config = load(tmp_path)
    with pytest.raises(ValueError, match="frozen"):
        config.server.listen = "0.0.0.0:80"
    with pytest.raises(ValueError, match="frozen"):
        config.server = None


def test_the_superlink_is_on_loopback_whatever_the_front_listens_on(tmp_path):
    config = load(tmp_path, server=LEAST["server"] + "\nlisten = '0.0.0.0:8443'")
    command = config.superlink().command()
    assert command[command.index("--host") + 1] == "127.0.0.1"


def test_an_endpoint_knows_its_parts():
    assert (Endpoint("[::1]:80").host, Endpoint("[::1]:80").port, Endpoint("[::1]:80").loopback) == ("::1", 80, True)
    assert not Endpoint("0.0.0.0:1").loopback
    assert not Endpoint("localhost.example.org:1").loopback


def test_no_budget_is_kept_unless_it_is_asked_for(tmp_path):
    assert load(tmp_path).privacy is None
    found = load(tmp_path, privacy="epsilon = 8\ndelta = 1e-6").privacy
    assert (found.epsilon, found.delta, found.training_epsilon, found.noise, found.separation) == (
        8.0,
        1e-6,
        None,
        "central",
        1,
    )


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"privacy": "epsilon = 8"}, "'privacy.delta' is missing"),
        ({"privacy": "delta = 1e-6"}, "'privacy.epsilon' is missing"),
        ({"privacy": "epsilon = 0\ndelta = 1e-6"}, "'privacy.epsilon'"),
        ({"privacy": "epsilon = inf\ndelta = 1e-6"}, "'privacy.epsilon'"),
        ({"privacy": "epsilon = nan\ndelta = 1e-6"}, "'privacy.epsilon'"),
        ({"privacy": "epsilon = 8\ndelta = 1"}, "'privacy.delta'"),
        ({"privacy": "epsilon = 8\ndelta = 0"}, "'privacy.delta'"),
        ({"privacy": "epsilon = 8\ndelta = 1e-6\ntraining_epsilon = 9"}, "training_epsilon is 9, above the epsilon"),
        ({"privacy": 'epsilon = 8\ndelta = 1e-6\nnoise = "none"'}, "'privacy.noise'"),
        ({"privacy": "epsilon = 8\ndelta = 1e-6\nseparation = 0"}, "'privacy.separation'"),
        (
            {"privacy": 'epsilon = 8\ndelta = 1e-6\nnoise = "distributed"', "rounds": "masked = false"},
            "noise = 'distributed' needs masks",
        ),
        ({"model.settings": "noise = 3.0"}, "noise is worked out from [privacy]"),
    ],
)
def test_a_promise_that_cannot_be_is_one_sentence(tmp_path, sections, words):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, **sections)
    assert words in str(caught.value)


@pytest.mark.parametrize("epsilon", [None, 4.5])
def test_the_example_of_a_budget_is_what_it_says_once_it_is_uncommented(tmp_path, epsilon):
    text = server_toml(NewServer(epsilon=epsilon, delta=1e-5))
    start = text.index("[privacy]")
    lines = text[start:].partition("\n[schedule]")[0].splitlines()
    if epsilon is None:
        assert ServerConfig.load(_file(tmp_path, text)).privacy is None
        lines = [line.removeprefix("# ") if " = " in line or "[" in line else line for line in lines]
        lines = [line for line in lines if "training_epsilon" not in line]
    body = "\n".join(line for line in lines if not line.startswith(("#", "[")))
    found = load(tmp_path, privacy=body).privacy
    assert (found.epsilon, found.delta) == (8.0 if epsilon is None else epsilon, 1e-5)


def _file(folder: Path, text: str) -> Path:
    path = folder / "made.toml"
    path.write_text(text, encoding="utf-8")
    return path
