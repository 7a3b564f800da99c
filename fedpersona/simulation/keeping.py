"""When a training leaves a checkpoint, and how it is stopped: between two rounds, never inside one."""

from __future__ import annotations

import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from fedpersona.errors import ConfigError, OutputError
from fedpersona.simulation.checkpoint import FOLDER, Checkpoint, SoFar, last_round, write_checkpoint
from fedpersona.simulation.going_on import Facts, check_same
from fedpersona.simulation.narration import Narrator, Silence
from fedpersona.simulation.private_table import PrivateTable

try:
    import fcntl
except ImportError:  # Windows: a folder is not locked there
    fcntl = None  # type: ignore[assignment]

__all__ = ["SECONDS", "Facts", "Interrupted", "Keeping"]

SECONDS = 60.0
"""Time between two checkpoints, by default."""
_WORTH_KEEPING = 10.0
"""Seconds of training from which on its end is kept, so that a stop while it is measured loses nothing."""
_SHARE = 10.0
"""The time between two is at least so many times what writing one takes, unless every round is asked for."""

_STOPPING = "stopping: this round is finished first, then a checkpoint is written; once more leaves at once"


class Interrupted(KeyboardInterrupt):
    """A training was stopped between two rounds, and its checkpoint is in the folder of the run."""

    def __init__(self, folder: Path, round_number: int) -> None:
        super().__init__(f"stopped after round {round_number}")
        self.folder = folder
        self.round_number = round_number


class _Elsewhere(OutputError):
    """The folder is another run's, or another process is at work there."""


class Keeping:
    """Leaves checkpoints of one training in the folder of its run.

    Args:
        folder: of the run.
        seconds: least time between two checkpoints; 0 leaves one after every round.
        checkpoint: to go on from; None for a training that begins.
    """

    def __init__(self, folder: Path, seconds: float = SECONDS, checkpoint: Checkpoint | None = None) -> None:
        self.folder = folder
        self.seconds = seconds
        self.checkpoint = checkpoint
        self.done = 0 if checkpoint is None else checkpoint.round_number
        """Rounds that were done before the training was gone on with."""
        self.resumed = [] if checkpoint is None else [*checkpoint.resumed, self.done]
        """After which rounds it was."""
        self.claimed = checkpoint is not None
        """Whether the folder is this run's."""
        self._release: Callable[[], object] | None = None
        self._facts: Facts | None = None
        self._narrator: Narrator = Silence()
        self._stop = False
        self._begun = self._wrote = time.monotonic()
        self._took = 0.0

    def begin(self, facts: Facts, narrator: Narrator) -> Facts:
        """Take note of what is trained; return it as it was in the beginning, where the training goes on.

        Raises:
            ConfigError: a run with an epsilon, of which a checkpoint could release more than was promised.
            DataError: the data, the model's file or the kernel are not those that the training began with, or the
                checkpoint is not of the model.
        """
        if facts.config.epsilon is not None:
            raise ConfigError(
                "a run with an epsilon keeps no checkpoint: rounds that are run again would draw other noise, "
                "and release more than was promised"
            )
        before = self.checkpoint
        if before is not None:
            check_same(before, facts, self.folder)
            changed = [name for name, found in facts.versions.items() if before.versions.get(name) != found]
            if changed:
                narrator.note(
                    f"other versions than this run began with, the last bits may differ: {', '.join(changed)}"
                )
            facts = replace(facts, started=before.started)
            self._lock_folder()
        self._facts, self._narrator = facts, narrator
        self._begun = self._wrote = time.monotonic()
        return facts

    @property
    def trained_before(self) -> float:
        """Wall time of the training before it was gone on with."""
        return 0.0 if self.checkpoint is None else self.checkpoint.seconds

    def after_round(
        self, so_far: SoFar, privates: PrivateTable | None, *, last: bool, before: Callable[[], None] = lambda: None
    ) -> None:
        """Leave a checkpoint, where it is time or somebody asked to stop.

        The last round's is left where others were, or where training took a while: measuring can be stopped too.

        Args:
            so_far: the training.
            privates: what devices keep.
            last: whether no round follows.
            before: called before a checkpoint is left.

        Raises:
            Interrupted: somebody asked to stop.
            OutputError: it cannot be left when somebody asked to stop, or another run has the folder.
        """
        now = time.monotonic()
        due = now - self._wrote >= (max(self.seconds, _SHARE * self._took) if self.seconds else 0.0)
        worth_it = last and (self.claimed or now - self._begun >= _WORTH_KEEPING)
        if not (due or self._stop or worth_it):
            return
        try:
            if not self.claimed:
                self._claim()
            before()
            write_checkpoint(self.folder, self._checkpoint(so_far, now), privates)
        except _Elsewhere:
            raise
        except OutputError as error:
            if self._stop:
                raise
            self._narrator.note(f"{error}; the training goes on without it")
        self._wrote = time.monotonic()
        self._took = self._wrote - now
        if self._stop:
            raise Interrupted(self.folder, len(so_far.reports))

    def _checkpoint(self, so_far: SoFar, now: float) -> Checkpoint:
        facts = self._facts
        if facts is None:
            raise ValueError("a training is kept once it is known what is trained")
        return Checkpoint(
            config=facts.config,
            question=facts.question,
            data_hash=facts.data_hash,
            versions=facts.versions,
            code_hash=facts.code_hash,
            kernel=facts.kernel,
            started=facts.started,
            seconds=self.trained_before + now - self._begun,
            resumed=self.resumed,
            so_far=so_far,
        )

    def _claim(self) -> None:
        """Make the folder of the run, and no other run's."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / FOLDER).mkdir()
            if (self.folder / "run.json").exists():
                raise FileExistsError
        except FileExistsError:
            raise _Elsewhere(f"{self.folder}: another run writes there; name another folder with --out") from None
        except OSError as error:
            raise OutputError(f"{self.folder}: the checkpoint cannot be written ({error.strerror})") from None
        self.claimed = True
        self._lock_folder()

    def _lock_folder(self) -> None:
        """Keep other processes from going on with the same run, until this one ends."""
        if fcntl is None:
            return
        try:
            held = os.open(self.folder / FOLDER / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot be written ({error.strerror})") from None
        self._release = weakref.finalize(self, os.close, held)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise _Elsewhere(f"{self.folder}: another process is at work on this run") from None

    def release(self) -> None:
        """Let others go on with the run."""
        if self._release is not None:
            self._release()

    @property
    def kept(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return self.claimed and last_round(self.folder) is not None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take Ctrl-C, and the request to end, for a wish to stop after the round; a second one leaves at once.

        A third one ends the process, whatever it is in the middle of.
        """
        if threading.current_thread() is not threading.main_thread():
            yield  # signals go to the main thread, and only it may say what they do
            return

        # A handler that prints could come between two halves of another line.
        saying = threading.Thread(target=self._narrator.note, args=(_STOPPING,), daemon=True)

        def stop(number: int, frame: object) -> None:
            if self._stop:
                signal.signal(number, signal.SIG_DFL)
                raise KeyboardInterrupt
            self._stop = True
            saying.start()

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            if self._stop:
                saying.join(timeout=1.0)
