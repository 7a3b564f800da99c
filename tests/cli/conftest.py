"""The command line, called in the process of a test."""

from __future__ import annotations

import signal
import sys

import pytest

from fedpersona import cli


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Call the command line in an empty folder; returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["fedpersona", *map(str, arguments)])
        before = signal.getsignal(signal.SIGTERM)
        try:
            with pytest.raises(SystemExit) as leaving:
                cli.main()
        finally:
            signal.signal(signal.SIGTERM, before)
        out, err = capsys.readouterr()
        return leaving.value.code or 0, out, err

    return call
