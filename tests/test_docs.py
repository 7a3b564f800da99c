"""The documents are true of this checkout: their links lead somewhere, and the tests they name are there."""

from __future__ import annotations

import re
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
