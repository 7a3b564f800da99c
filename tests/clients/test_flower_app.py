"""``flwr run .`` from the folder of this project: what is bundled, what is configured, and one run for real."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import socket
import subprocess
import sys
import time
import tomllib
import zipfile
from dataclasses import asdict
from pathlib import Path

import pytest
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.cli.build import build_fab_from_disk
from flwr.proto.control_pb2 import ListRunsRequest
from flwr.supercore.control.control_http_client import ControlHttpClient

from clients.app import app as client_app
from fedpersona.aggregation.coordinator import Coordinator
from fedpersona.aggregation.superlink import QUIET
from fedpersona.errors import CohortTooSmall, ConfigError, FedpersonaError
from fedpersona.simulation.behaviour import Behaviour
from fedpersona.simulation.clientapp import invented_people
from fedpersona.simulation.engine import DeviceEngine
from fedpersona.simulation.local_grid import LocalGrid
from fedpersona.simulation.serverapp import RunSettings, announced, train
from fedpersona.taste.model_file import unpack
from tests.serving import free_port
from tests.superlinks import end

ROOT = Path(__file__).parents[2]
TOOLS = Path(sys.executable).parent
NEEDED = ("flwr", "flower-superlink", "flower-supernode", "flower-superexec", "flwr-serverapp", "flwr-clientapp")
of_flower = pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")  # Flower's, not ours
HISTORY = '[{"ts": "2024-05-01T10:00:00Z", "master_metadata_track_name": "A private song"}]'
LYING_ABOUT = (
    "Streaming_History_Audio_2024.json",
    "Spotify/Streaming_History_Audio_2024_0.json",
    "listens.jsonl",
    "listens/2024/6.jsonl",
    "my.csv",
    "notes.md",
    "my settings.toml",
    "keep.py",
    "vault/vault.db",
    "vault/consent.jsonl",
    "vault/key.json",
    "clients/companion/history.json",
    "clients/mine.py",
    "server/operator-key.md",
    "server/state/models.json",
    "fedpersona/listens.jsonl",
    "fedpersona/device/Streaming_History_Audio_2024.json",
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A copy of the project's folder, in which a person has left things of their own."""
    tree = tmp_path_factory.mktemp("flower") / "fedpersona"
    tree.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, tree / name)
    for name in ("fedpersona", "clients", "server", "docs"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in LYING_ABOUT:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(HISTORY)
    return tree


def quiet(home: Path) -> dict[str, str]:
    """Return an environment in which Flower keeps to this folder, and calls nobody."""
    path = os.pathsep.join((str(TOOLS), os.environ.get("PATH", os.defpath)))
    return {**os.environ, **QUIET, "FLWR_HOME": str(home), "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def allowed(name: str) -> bool:
    ours = name.startswith("fedpersona/") and name.endswith(".py")
    return ours or name in {
        "pyproject.toml",
        ".info/CONTENT",
        "clients/__init__.py",
        "clients/app.py",
        "server/app.py",
    }


# -- the bundle --


@of_flower
def test_a_bundle_holds_the_allow_list_and_nothing_that_lies_about(tree):
    with zipfile.ZipFile(io.BytesIO(build_fab_from_disk(tree))) as bundle:
        names = bundle.namelist()
        private = [name for name in names if b"A private song" in bundle.read(name)]
    assert [name for name in names if not allowed(name)] == []
    assert private == []
    ours = {str(path.relative_to(ROOT)) for path in (ROOT / "fedpersona").rglob("*.py")}
    assert {name for name in names if name.startswith("fedpersona/")} == ours
    assert {"server/app.py", "clients/app.py"} <= set(names)


@of_flower
def test_without_the_list_flower_would_have_taken_them(tree, tmp_path):
    """The list is what keeps them out: the same folder without it gives everything away."""
    other = tmp_path / "fedpersona"
    shutil.copytree(tree, other)
    project = (other / "pyproject.toml").read_text()
    (other / "pyproject.toml").write_text(
        "\n".join(line for line in project.splitlines() if not line.startswith("fab-include"))
    )
    with zipfile.ZipFile(io.BytesIO(build_fab_from_disk(other))) as bundle:
        assert {"Streaming_History_Audio_2024.json", "listens.jsonl", "notes.md"} <= set(bundle.namelist())


def test_flwr_build_succeeds_as_a_user_runs_it(tree, tmp_path):
    found = subprocess.run(
        [str(TOOLS / "flwr"), "build", "--app", str(tree)],
        cwd=tmp_path,
        env=quiet(tmp_path / "home"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "warning" not in (found.stdout + found.stderr).lower()
    (bundle,) = tmp_path.glob("fedpersona.*.fab")
    with zipfile.ZipFile(bundle) as opened:
        assert all(allowed(name) for name in opened.namelist())


# -- the configuration --


def test_the_run_configuration_has_every_setting_with_its_default():
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]
    assert RunSettings.read(found) == RunSettings()
    assert {name.replace("-", "_") for name in found} == set(asdict(RunSettings()))


@pytest.mark.parametrize(
    "config",
    [
        {"people": 0},
        {"people": "10"},
        {"people": True},
        {"people": 2.0},
        {"masked": 1},
        {"rounds": -1},
        {"clip": -1.0},
        {"cohort": 11},
        {"min-count": 11},
        {"colour": "red"},
    ],
)
def test_a_run_configuration_that_cannot_be_is_named(config):
    with pytest.raises(ConfigError, match="run configuration"):
        RunSettings.read(config)


@pytest.mark.parametrize("settings", ["dim", "dim = ", "} x = {", "dim = -1", "colour = 1"])
def test_settings_of_a_model_that_cannot_be_are_named(settings):
    with pytest.raises(FedpersonaError):
        RunSettings.read({"settings": settings}).create()


def test_numbers_may_be_written_without_a_point_and_settings_as_a_list():
    settings = RunSettings.read({"clip": 3, "settings": "dim = 16, rounds = 2"})
    assert (settings.clip, settings.create().rounds) == (3.0, 2)


# -- who takes part --


def a_grid(count: int, people: int, **said) -> LocalGrid:
    return LocalGrid.of_one_app(client_app, count, run_config={"people": people, "items": 0, "seed": 1}, **said)


def test_the_app_learns_what_the_simulation_learns():
    settings = RunSettings(people=10, settings="dim = 4, rounds = 2")
    shared = train(a_grid(10, 10), settings)
    assert shared.hash() == simulated(settings).hash()


def simulated(settings: RunSettings):
    people = invented_people(settings.people, settings.items, settings.seed)
    coordinator = Coordinator(
        settings.create(),
        people.catalogue,
        DeviceEngine(settings.create(), people, Behaviour()),
        cohort=settings.most,
        min_count=settings.least,
        seed=settings.seed,
        clip=settings.clip or None,
    )
    for _ in range(settings.rounds or settings.create().planned_rounds(people.catalogue)):
        coordinator.run_round()
    return coordinator.shared


def test_nodes_beyond_the_people_take_no_part():
    found = announced(a_grid(6, 4), RunSettings(people=4))
    assert list(found) == [100, 101, 102, 103]


def test_two_nodes_of_one_person_are_one_device():
    def twice(message: Message, context: Context) -> Message:
        context.node_config["partition-id"] = min(int(context.node_config["partition-id"]), 2)
        return client_app(message, context)

    grid = LocalGrid.of_one_app(twice, 4, run_config={"people": 4, "items": 0, "seed": 1})
    found = announced(grid, RunSettings(people=4, min_count=3, gather_seconds=0.1))
    assert list(found) == [100, 101, 102]


def test_too_few_nodes_are_waited_for_and_then_named():
    with pytest.raises(CohortTooSmall):
        announced(a_grid(2, 4), RunSettings(people=4, gather_seconds=0.1))


def test_a_key_that_belongs_to_nobody_is_not_enrolled():
    def stranger(message: Message, context: Context) -> Message:
        answers = [{"key": bytes(32)}, {"key": "text"}, {}]
        answer = ConfigRecord(answers[int(context.node_config["partition-id"])])
        return Message(RecordDict({"announced": answer}), reply_to=message)

    grid = LocalGrid.of_one_app(stranger, 3)
    with pytest.raises(CohortTooSmall):
        announced(grid, RunSettings(people=3, gather_seconds=0.1))


def test_a_node_without_a_partition_says_so():
    grid = LocalGrid({7: client_app}, run_config={"people": 3, "items": 0, "seed": 1})
    del grid.context(7).node_config["partition-id"]
    (reply,) = grid.send_and_receive([Message(RecordDict(), 7, "query.announce")])
    assert "partition-id" in reply.error.reason


# -- for real --


@contextlib.contextmanager
def processes(commands, environment, logs):
    """Run commands until the context ends; whatever they started ends with them."""
    started = []
    try:
        for number, command in enumerate(commands):
            with (logs / f"{number}.log").open("wb") as output:
                started.append(subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT))
        yield started
    finally:
        for process in reversed(started):
            end(process.pid)
            process.wait()


@pytest.mark.skipif(
    not all((TOOLS / name).exists() for name in NEEDED), reason="Flower's tools are not beside this Python"
)
def test_flwr_run_completes_on_a_superlink_with_stock_nodes(tree, tmp_path):
    nodes = 2
    environment = quiet(tmp_path / "flower")
    address = f"127.0.0.1:{free_port()}"
    (tmp_path / "flower").mkdir()
    (tmp_path / "flower" / "config.toml").write_text(
        f'[superlink]\ndefault = "here"\n[superlink.here]\naddress = "{address}"\ninsecure = true\n'
    )
    port = address.partition(":")[2]
    link = [str(TOOLS / "flower-superlink"), "--insecure", "--port", port, "--disable-runtime-dependency-installation"]
    node = [str(TOOLS / "flower-supernode"), "--insecure", "--superlink", address]
    of_nodes = [
        [*node, "--port", str(free_port()), "--node-config", f"partition-id={number} num-partitions={nodes}"]
        for number in range(nodes)
    ]
    learned = tmp_path / "learned"
    asked = RunSettings(people=nodes, rounds=1, settings="dim = 4", masked=False)
    config = f'people={nodes} rounds=1 settings="dim = 4" masked=false save-to="{learned}"'
    with processes([link, *of_nodes], environment, tmp_path):
        wait_for(lambda: is_open(int(port)), 60, tmp_path)
        command = [str(TOOLS / "flwr"), "run", str(tree), "here", "--run-config", config]
        begun = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert begun.returncode == 0, begun.stdout + begun.stderr
        control = ControlHttpClient.from_server_address(address, insecure=True, root_certificates=None, interceptors=[])
        try:
            wait_for(lambda: status(control)[0] == "finished", 120, tmp_path)
            assert status(control) == ("finished", "completed"), written(tmp_path)
        finally:
            control.close()
    assert unpack(learned.read_bytes())[0].hash() == simulated(asked).hash()


def is_open(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def status(control: ControlHttpClient) -> tuple[str, str]:
    """Return how the only run is doing: not whether ``flwr run`` said that all is well, which it says anyway."""
    (run,) = control.ListRuns(ListRunsRequest(limit=5)).run_dict.values()
    return run.status.status, run.status.sub_status


def written(logs: Path) -> str:
    return "\n".join(f"== {file.name}\n{file.read_text()[-4000:]}" for file in sorted(logs.glob("*.log")))


def wait_for(condition, seconds: float, logs: Path) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it did not come to pass in {seconds:g} s\n{written(logs)}"
        time.sleep(0.5)
