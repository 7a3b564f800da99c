"""``python -m clients.companion``: one address on the terminal, and one sentence where it cannot begin."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from clients.companion.__main__ import main
from tests.clients.companion.serving import Plain

ROOT = Path(__file__).parents[3]


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent otherwise there")
def test_it_prints_an_address_serves_logs_no_request_and_ends_at_ctrl_c(tmp_path):
    running = subprocess.Popen(
        [sys.executable, "-m", "clients.companion", "--folder", str(tmp_path / "device")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert running.stdout is not None
        printed, address = "", None
        while address is None:
            line = running.stdout.readline()
            assert line, printed
            printed += line
            address = re.search(r"http://127\.0\.0\.1:(\d+)/\?token=\S+", line)
        browser = Plain(int(address[1]))
        assert browser.enter(address[0]).status == 303
        assert browser.get("/").status == 200
        running.send_signal(signal.SIGINT)
        rest, _ = running.communicate(timeout=20)
    finally:
        running.kill()
        running.wait()
    assert rest == ""
    assert "No system keyring" in printed


def test_a_port_in_use_is_one_sentence(tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(["--folder", str(tmp_path / "device"), "--port", port]) == 2
    assert "choose another --port" in capsys.readouterr().err
    assert not (tmp_path / "device").exists()


def test_a_folder_that_is_a_file_is_one_sentence(tmp_path, capsys):
    (tmp_path / "device").write_text("")
    assert main(["--folder", str(tmp_path / "device")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("port", ["-1", "65536", "many"])
def test_a_port_that_is_none_is_refused(port, capsys):
    with pytest.raises(SystemExit):
        main(["--port", port])
    assert "0 to 65535" in capsys.readouterr().err
