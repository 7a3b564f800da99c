"""A process that is killed before, and in another run after, every step that reaches the disk."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from sqlalchemy import Engine, event

__all__ = ["killed_at_each_step", "run"]


def killed_at_each_step(script: Path, folder: Path) -> list[dict]:
    """Run a script of ``run(...)`` in a process of its own; return what it found after each kill."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, str(script), str(folder)],
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def run(prepare, act, look) -> None:
    """Prepare a folder, act in a child that is killed at the n-th step, and print what ``look`` finds, for each n."""
    for number in range(1, 200):
        folder = Path(sys.argv[1]) / str(number)
        prepare(folder)
        child = os.fork()
        if not child:
            _kill_at(number)
            try:
                act(folder)
            finally:
                os._exit(0)
        killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        print(json.dumps({"killed": killed, **look(folder)}))
        if not killed:
            return


def _kill_at(number: int) -> None:
    steps = 0

    def step(*_, **__) -> None:
        nonlocal steps
        steps += 1
        if steps == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(function):
        def stepped(*arguments, **options):
            step()
            answer = function(*arguments, **options)
            step()
            return answer

        return stepped

    os.fsync = around(os.fsync)
    os.pwrite = around(os.pwrite)
    Path.replace = around(Path.replace)
    Path.unlink = around(Path.unlink)
    for name in ("begin", "commit", "after_cursor_execute"):
        event.listen(Engine, name, step)
