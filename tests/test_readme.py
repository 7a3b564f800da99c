"""The README is alive: its commands, its code and its promises are those of this checkout."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

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


def test_the_hello_world_runs(tmp_path):
    (code,) = blocks("python")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["popularity", "ease"]
    assert " — " in lines[-1]
    assert not list(tmp_path.iterdir()), "a library call leaves no files behind"


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", README))
def test_every_link_leads_somewhere(target):
    assert target.startswith("https://") or (ROOT / target).exists()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:tests|simulations|fedpersona)/[^`\s]*)", README))))
def test_every_file_that_is_named_exists(path):
    assert (ROOT / path).exists()


def test_every_promise_names_a_test():
    rows = [line for line in README.splitlines() if line.startswith("|") and "tests/" in line]
    assert len(rows) >= 6
