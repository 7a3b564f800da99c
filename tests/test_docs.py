"""The documents are true of this checkout: their links lead somewhere, and the tests they name are there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = sorted((ROOT / "docs").glob("*.md"))
NAMED = [(doc, name) for doc in DOCS for name in re.findall(r"`(tests/[\w/.]+\.py)(?:::(\w+))?`", doc.read_text())]


@pytest.mark.parametrize(("doc", "name"), NAMED, ids=[f"{doc.name}-{'-'.join(name)}" for doc, name in NAMED])
def test_every_test_that_a_document_names_is_there(doc, name):
    path, function = name
    assert (ROOT / path).exists()
    assert not function or f"def {function}(" in (ROOT / path).read_text(), f"{doc.name} names {function}"


@pytest.mark.parametrize("doc", DOCS, ids=[doc.name for doc in DOCS])
def test_every_link_of_a_document_leads_somewhere(doc):
    for target in re.findall(r"\]\(([^)#]+)\)", doc.read_text()):
        assert target.startswith("https://") or (doc.parent / target).exists(), target


def test_every_error_of_a_device_is_told():
    from fedpersona import errors

    told = (ROOT / "docs/device.md").read_text(encoding="utf-8")
    for family in (errors.DeviceError, errors.Refusal):
        for error in family.__subclasses__():
            assert f"`{error.__name__}`" in told, f"docs/device.md does not tell of {error.__name__}"


def test_the_examples_of_the_device_run(tmp_path):
    from tests.device.invented import NO_KEYRING, write_spotify_zip

    write_spotify_zip(tmp_path / "my_spotify_data.zip")
    told = ""
    for code in re.findall(r"```python\n(.*?)```", (ROOT / "docs/device.md").read_text(encoding="utf-8"), re.DOTALL):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, "HOME": str(tmp_path), "FEDPERSONA_PASSPHRASE": "for a test", **NO_KEYRING},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        told += done.stdout
    assert "61 new listens" in told
    assert "contributed to 4 rounds" in told
