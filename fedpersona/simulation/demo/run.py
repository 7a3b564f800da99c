"""Runs the demo from beginning to end, and leaves nothing behind unless it was asked to."""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

from rich.console import Console

from fedpersona.aggregation.front.recording import frames
from fedpersona.catalogue import Catalogue
from fedpersona.device import starter
from fedpersona.errors import OutputError, RoundFailed
from fedpersona.simulation.demo.accuracy import Accuracy, accuracy
from fedpersona.simulation.demo.canary import Canary, Report
from fedpersona.simulation.demo.devices import Fleet
from fedpersona.simulation.demo.exports import FORMATS, write_export
from fedpersona.simulation.demo.federation import CAST, PASSPHRASE, Cast, Federation, Outcome
from fedpersona.simulation.demo.people import Person, invent
from fedpersona.simulation.demo.server import DemoServer
from fedpersona.simulation.demo.story import Story
from fedpersona.simulation.show import human_bytes
from fedpersona.taste import Subspace

__all__ = ["DemoConfig", "DemoResult", "run_demo"]

_SHOWN = 3  # people whose playlists are shown


@dataclass(frozen=True)
class DemoConfig:
    """What a demo can be told."""

    seed: int = 0
    """Another seed, other people."""
    keep: Path | None = None
    """Leave everything in this folder, which must be new or empty; None: in a temporary one that is removed."""


@dataclass(frozen=True)
class DemoResult:
    """What a demo came to."""

    outcome: Outcome
    accuracy: Accuracy
    canary: Report
    rehearsed: tuple[int, int]
    """How many of how many planted names and times the search found."""
    playlists: Mapping[int, Mapping[str, Any]]
    ledger: Sequence[str]
    seconds: float

    @property
    def clean(self) -> bool:
        """Whether nothing of a history was found in the traffic, by a search that can find something."""
        found, planted = self.rehearsed
        return not self.canary.findings and found == planted and self.canary.bytes_up > 0

    def summary(self) -> dict[str, Any]:
        """Return it JSON-native; no playlist and no name is in it."""
        outcome, report = self.outcome, self.canary
        return {
            "version": outcome.version,
            "rounds": [
                {name: one[name] for name in ("round_number", "attempt", "outcome", "invited", "answered", "refused")}
                for one in outcome.rounds
            ],
            "took_part": len(outcome.took_part()),
            "have_the_model": sum(facts.get("rounds") is not None for facts in outcome.fetched.values()),
            "sent_nothing": [number + 1 for number in outcome.stayed_away()],
            "killed": outcome.killed + 1,
            "revoked": outcome.revoked + 1,
            "accuracy": asdict(self.accuracy),
            "canary": {
                "clean": self.clean,
                "findings": [asdict(one) for one in report.findings],
                "bytes_up": report.bytes_up,
                "bytes_down": report.bytes_down,
                "requests": report.requests,
                "streams_unpacked": report.streams,
                "bytes_unpacked": report.bytes_unpacked,
                "rehearsed": list(self.rehearsed),
            },
            "seconds": round(self.seconds, 1),
        }


def run_demo(config: DemoConfig, console: Console, cast: Cast = CAST) -> DemoResult:
    """Run it, and tell it on a console.

    Raises:
        RoundFailed: the federation did not finish.
        ServerError: its server does not run.
        OutputError: the folder to keep it in is not empty, or cannot be written.
    """
    started = time.monotonic()
    catalogue = starter.catalogue()
    with _folder(config.keep) as folder, Story(console) as story:
        people = invent(catalogue, cast.people, seed=config.seed, now=time.time())
        exports = _exports(people, folder, story)
        recording = folder / "wire.recording"
        with _running(folder, recording) as (server, fleet):
            _serve(server, cast, story)
            played = Federation(server, fleet, people, exports, _new(folder / "devices"), catalogue, story, cast)
            outcome = _train(played, people, cast, story)
            shown = outcome.took_part()[:_SHOWN]
            playlists = _playlists(played, shown, people, story)
            ledger = _ledger(played, shown[0], people, story)
            found = _accuracy(played, outcome, people, catalogue, cast, config.seed, story)
        report, rehearsed = _canary(recording, people, story)
        result = DemoResult(outcome, found, report, rehearsed, playlists, ledger, time.monotonic() - started)
        _end(result, config.keep, story)
        return result


@contextmanager
def _running(folder: Path, recording: Path) -> Iterator[tuple[DemoServer, Fleet]]:
    """Give a server and a fleet, and end both whatever happens: a second Ctrl-C does not leave half of them behind."""
    with ExitStack() as stack:
        server = stack.enter_context(DemoServer(folder / "server", recording))
        fleet = stack.enter_context(Fleet(_new(folder / "logs")))
        try:
            yield server, fleet
        finally:
            with _undisturbed():
                stack.close()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let no signal interrupt what is done meanwhile; in another thread than the main one none would."""
    numbers = (signal.SIGINT, signal.SIGTERM) if current_thread() is main_thread() else ()
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="fedpersona-demo-", ignore_cleanup_errors=True) as name:
            yield Path(name)
        return
    try:
        keep.mkdir(parents=True, exist_ok=True)
        if any(keep.iterdir()):
            raise OutputError(f"{keep}: is not empty: give --keep a new folder")
    except OSError as error:
        raise OutputError(f"{keep}: cannot be written: {error.strerror or error}") from None
    yield keep.absolute()


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _exports(people: Sequence[Person], folder: Path, story: Story) -> list[Path]:
    story.act(f"{len(people)} people, and what they played", "writing exports")
    where = _new(folder / "exports")
    made = [write_export(person, where) for person in people]
    story.say(
        f"Invented people, real formats: exports as {', '.join(FORMATS)} hand them out. One track of each person is "
        "kept out of the export: the model should find it. A few names of each are in no catalogue at all: they must "
        "never show up on the wire."
    )
    return made


def _serve(server: DemoServer, cast: Cast, story: Story) -> None:
    story.act("A server", "starting 'fedpersona serve'")
    server.make(cast.settings(), {"dim": cast.dim, "rounds": cast.rounds})
    server.start()
    story.say(
        f"'fedpersona serve' runs at {server.address}, over TLS, with an authority of its own. "
        f"It may release sums of {cast.least} devices or more; devices here were told to accept that "
        f"(Policy(least_cohort={cast.least})); left alone, yours would want 50."
    )


def _train(played: Federation, people: Sequence[Person], cast: Cast, story: Story) -> Outcome:
    story.act(f"{len(people)} devices", "starting devices")
    played.gather()
    story.act(f"{cast.rounds} rounds under masks", "rounds")
    outcome = played.train()
    if outcome.killed < 0 or outcome.revoked < 0 or len(outcome.took_part()) < cast.least:
        raise RoundFailed("the demo's rounds went by without its drop-out, its revocation, or its people: try again")
    have = {number for number, facts in outcome.fetched.items() if facts.get("rounds") == cast.rounds}
    away = " (also those that sent nothing)" if set(outcome.stayed_away()) & have else ""
    story.say(f"Version {outcome.version} of the model is signed and served; {len(have)} devices have it{away}.")
    return outcome


def _playlists(
    played: Federation, shown: Sequence[int], people: Sequence[Person], story: Story
) -> dict[int, Mapping[str, Any]]:
    story.act("Three playlists, made on the devices", "making playlists")
    found = played.show("playlist", shown)
    for number in shown:
        story.playlist(people[number].name, found[number])
    return found


def _ledger(played: Federation, number: int, people: Sequence[Person], story: Story) -> list[str]:
    story.act(f"The ledger of {people[number].name}: all that left the device, and all that came", "reading")
    entries = list(played.show("ledger", [number])[number]["entries"])
    story.lines(entries)
    return entries


def _accuracy(
    played: Federation,
    outcome: Outcome,
    people: Sequence[Person],
    catalogue: Catalogue,
    cast: Cast,
    seed: int,
    story: Story,
) -> Accuracy:
    story.act("How good it is", "measuring")
    ranks = played.show("rank", outcome.took_part())
    measured = sorted(ranks)
    model = Subspace(dim=cast.dim, rounds=cast.rounds)
    found = accuracy(
        [people[number] for number in measured],
        [ranks[number]["rank"] for number in measured],
        catalogue,
        model,
        seed=seed,
    )
    story.figures(found)
    story.say(
        f"{found.people} people are few: the interval is wide, and one track more or less moves the figure by up to "
        f"{1 / found.people:.2f}. The model put the held-out track among its first ten for {found.found} of them, out "
        f"of {len(catalogue):,} tracks. 'fedpersona simulate' measures thousands."
    )
    return found


def _canary(recording: Path, people: Sequence[Person], story: Story) -> tuple[Report, tuple[int, int]]:
    story.act("Was anything of a history on the wire?", "searching all traffic")
    recorded = list(frames(recording))
    canary = Canary(people)
    request = next((one for one in recorded if one[0].startswith("> POST /v1/enrol")), ("> nothing", b""))
    rehearsed = canary.rehearse(*request)
    report = canary.search(recorded)
    story.say(
        f"Searched: all {human_bytes(report.bytes_up)} that devices sent in {report.requests:,} requests and all "
        f"{human_bytes(report.bytes_down)} that they got, where the server has taken TLS off; and every zlib, gzip or "
        f"zip stream in it, unpacked ({report.streams:,}, {human_bytes(report.bytes_unpacked)})."
    )
    story.say(
        f"For: {len(canary.invented):,} names that are in no catalogue and {len(canary.moments):,} times of plays, in "
        f"both directions; and {len(canary.catalogued):,} artists and titles of the vaults in what devices sent (the "
        "public catalogue, with all its titles, goes down to every device). Each plain, in other case, base64, hex, "
        "UTF-16 and, for times, as digits, ISO text and binary numbers."
    )
    if canary.upwards.passed_over:
        story.say(
            f"{len(canary.upwards.passed_over)} names of fewer than 6 bytes were not searched plain: random bytes "
            "hold them by chance."
        )
    found, planted = rehearsed
    story.say(f"Before that, the search was tried on a copy with planted names: it found {found} of {planted}.")
    return report, rehearsed


def _end(result: DemoResult, keep: Path | None, story: Story) -> None:
    if result.clean:
        story.verdict("Nothing was found: no name and no time of any history, in any of these forms.", good=True)
    elif result.canary.findings:
        first = result.canary.findings[0]
        story.verdict(
            f"FOUND {len(result.canary.findings)}: '{first.what}' as {first.form} in '{first.frame}'. "
            "Something of a history was on the wire.",
            good=False,
        )
    else:
        story.verdict("The search itself does not work, or nothing was recorded: this proves nothing.", good=False)
    where = (
        "Everything was in a temporary folder, and is gone."
        if keep is None
        else f"Everything is in {keep}; the vaults' passphrase is '{PASSPHRASE}'."
    )
    story.say(f"{result.seconds:.0f} s. {where}")
