"""The README is alive: its commands, its code and its promises are those of this checkout."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.device.invented import NO_KEYRING, write_spotify_zip

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_two_commands_are_the_promised_ones():
    assert [block.strip() for block in blocks("sh")] == [
        "pip install -c constraints.txt -e . && fedpersona demo",
        "pip install -c constraints.txt -e '.[test]' && pytest",
    ]


def test_ci_calls_the_second_command_word_for_word():
    assert blocks("sh")[1].strip() in (ROOT / ".ci/run").read_text().splitlines()


def run(code: str, folder: Path, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_hello_world_of_research_runs(tmp_path):
    lines = run(blocks("python")[1], tmp_path)
    assert [line.split()[0] for line in lines[:2]] == ["popularity", "ease"]
    assert " — " in lines[-1]
    assert not list(tmp_path.iterdir()), "a library call leaves no files behind"


IN_THIS_PROCESS = """
from fedpersona.device import conditions, starter
from fedpersona.simulation.local_federation import LocalFederation
from fedpersona.simulation.practice import invent_crowd
from fedpersona.taste import Subspace

class Plugged:
    def look(self):
        return conditions.Surroundings(charging=True, unmetered=True, idle=True)

conditions.use_probe(Plugged())
federation = LocalFederation(Subspace(dim=8), invent_crowd(starter.catalogue(), 60), patience=5.0)
with federation.at("https://taste.example"):
"""


def test_the_hello_world_of_a_device_runs_against_a_server_in_its_process(tmp_path):
    write_spotify_zip(tmp_path / "my_spotify_data.zip")
    code = IN_THIS_PROCESS + textwrap.indent(blocks("python")[0], "    ")
    lines = run(code, tmp_path, HOME=str(tmp_path), FEDPERSONA_PASSPHRASE="for a test", **NO_KEYRING)
    told = "\n".join(lines)
    assert "https://taste.example" in told
    assert "masked" in told
    playlist = (tmp_path / "weekly.xspf").read_text(encoding="utf-8")
    assert playlist.count("<track>") == 30
    assert "because you played" in playlist
    assert {path.name for path in tmp_path.iterdir()} == {"my_spotify_data.zip", "weekly.xspf"}, "forgotten, whole"


def test_the_same_from_a_shell(tmp_path):
    write_spotify_zip(tmp_path / "my_spotify_data.zip")
    environment = {**os.environ, "HOME": str(tmp_path), "FEDPERSONA_PASSPHRASE": "for a test", **NO_KEYRING}
    commands, _ = blocks("text")
    told = []
    for line in commands.strip().splitlines():
        command = [sys.executable, "-m", *line.split()]
        if "forget" in line:
            command.append("--yes")  # nobody can be asked here
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, (line, done.stderr)
        told.append(done.stdout)
    assert "because you played" in told[2]
    assert "contributed to" in told[4]
    assert "masked" in told[5]
    assert {path.name for path in tmp_path.iterdir()} == {"my_spotify_data.zip", "weekly.xspf"}


def test_the_operators_lines_make_a_server_and_an_invitation(tmp_path):
    _, commands = blocks("text")
    making, serving, inviting = (line.partition("#")[0].split() for line in commands.strip().splitlines())
    assert serving == ["fedpersona", "serve", "--config", "taste/server.toml"]  # tests/serving.py runs it
    for words in (making, inviting):
        done = subprocess.run(
            [sys.executable, "-m", *words], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
        )
    assert done.stdout.startswith("fedpersona device enrol fedpersona1.")


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", README))
def test_every_link_leads_somewhere(target):
    assert target.startswith("https://") or (ROOT / target).exists()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:tests|simulations|fedpersona)/[^`\s]*)", README))))
def test_every_file_that_is_named_exists(path):
    assert (ROOT / path).exists()


def test_every_promise_names_a_test():
    rows = [line for line in README.splitlines() if line.startswith("|") and "tests/" in line]
    assert len(rows) >= 6
