"""What the transparency page says, sentence by sentence, each made from the configuration it must be true of."""

from __future__ import annotations

from collections.abc import Mapping

from fedpersona.aggregation.config import PrivacyConfig, RoundsConfig, ScheduleConfig
from fedpersona.aggregation.journal import RoundRecord
from fedpersona.aggregation.pages import counted

__all__ = [
    "asked",
    "could_learn",
    "how_often",
    "learns",
    "leaving",
    "masked_or_not",
    "never_leaves",
    "round_in_words",
    "taking_part",
]

_LEARNS: Mapping[str, str] = {
    "popularity": "how many devices play each item",
    "subspace": "the main directions of everyone’s taste: for each item of the catalogue, a few numbers that say which "
    "other music the same people play",
    "ease": "for each pair of well-known items, how far liking one speaks for the other",
    "ials": "for each item of the catalogue, a few numbers that say which other music the same people play",
    **dict.fromkeys(
        ("fedmf", "fedrecon", "pfedrec"),
        "for each item of the catalogue, a few numbers that say which other music the same people play, a little in "
        "each of many rounds",
    ),
    "fedncf": "for each item of the catalogue, a few numbers, and a small network that reads from them who likes what, "
    "a little in each of many rounds",
}

_FAILED: Mapping[str, str] = {
    "too few devices": "too few devices answered",
    "devices left": "too many devices left before its end",
    "spoilt": "what devices sent did not fit together",
}


def learns(model: str) -> str:
    """Return what a taste model learns, to follow "It learns"; empty for a model that is not ours."""
    return _LEARNS.get(model, "")


def asked(rounds: RoundsConfig, privacy: PrivacyConfig | None = None) -> tuple[str, ...]:
    """Return what a device that takes part sends."""
    clip = _shortened(rounds, privacy)
    masked = (
        "It is masked: to the server each number in it is as likely as any other. For the masks go, each time, public "
        "keys that are used once, and shares of their private halves, locked for other devices. Then the device helps "
        "to open the sum of all, and nothing less."
        if rounds.masked
        else "It is not masked: the server can read it."
    )
    tested = (
        (
            "In the list, where its owner agreed to that as well: whether the track played last is among the first ten "
            "that the shared model suggests from the rest.",
        )
        if rounds.metrics and rounds.masked
        else ()
    )
    return (
        "For each round, one list of numbers that the device works out by itself, as long for everyone, whatever was "
        "played.",
        clip,
        masked,
        *tested,
        "Or, where it does not answer a round, one word why. It does not tell its owner’s no from its owner’s limits.",
        "Once, two public keys that it made for this server, so that nobody else can answer for it.",
    )


def _shortened(rounds: RoundsConfig, privacy: PrivacyConfig | None) -> str:
    if privacy is not None:
        return "It is no longer than the noise is made for, or is shortened to that, the same for every device."
    if rounds.clip is None:
        return "No limit is set to how much one device may weigh."
    return f"Before it leaves it is shortened to a length of {rounds.clip:g} at most, the same for every device."


def never_leaves() -> tuple[str, ...]:
    """Return what a device that takes part keeps."""
    return (
        "What was played, and when: the listening history.",
        "Its owner’s own taste, as the device has worked it out.",
        "The weekly playlist, which the device makes by itself.",
        "The private halves of its keys; of those that a round is masked with, pieces leave, each locked for one other "
        "device. The owner’s name is never asked for.",
    )


def masked_or_not(rounds: RoundsConfig) -> str:
    """Return what masks come to here."""
    if rounds.masked:
        return (
            "On: the server reads the sum of a round, and no single list. A device masks with "
            f"{rounds.neighbours} others, or with all of a smaller round; of so many it takes {rounds.threshold} to "
            "take a mask off."
        )
    return "Off: the server can read each list. A device takes part only where its owner has allowed that."


def how_often(schedule: ScheduleConfig) -> str:
    """Return when devices are asked."""
    if schedule.kind == "one-shot":
        return "The model is learned once, in a few rounds; then no device is asked again."
    often = "every day" if schedule.every_days == 1 else f"every {schedule.every_days:g} days"
    sooner = (
        ""
        if schedule.new_devices is None
        else f", or sooner, once {counted(schedule.new_devices, 'new device')} joined"
    )
    return f"The model is learned anew {often}{sooner}, each time in a few rounds."


def round_in_words(one: RoundRecord) -> str:
    """Return what came of a round, as a sentence."""
    if one.outcome is None:
        return f"Round {one.round_number} of training {one.training} is being held."
    if one.outcome == "completed":
        return (
            f"Round {one.round_number} of training {one.training} added up the lists of "
            f"{counted(one.answered, 'device')}."
        )
    why = _FAILED.get(one.outcome, "it was broken off")
    return f"Round {one.round_number} of training {one.training} released nothing: {why}."


def taking_part(contact: str) -> tuple[str, ...]:
    """Return how a device joins, step by step."""
    whom = f"Ask for an invitation: {contact.rstrip('.')}." if contact else "Ask whoever runs this for an invitation."
    return (
        f"{whom} Each lets one device in, once.",
        "Give it to fedpersona, or to an app that uses it. The device makes its keys and pins this server’s.",
        "Read the notice, and say yes. Until then nothing of yours is sent; the shared model you have either way.",
    )


def leaving(contact: str) -> tuple[str, ...]:
    """Return how a device leaves, and what stays."""
    whom = f" ({contact.rstrip('.')})" if contact else ""
    return (
        "Say no on your device. It takes effect at once: a round under way is stopped there, and your playlists go on "
        "without it.",
        f"Whoever runs this{whom} can also strike a device off the list; it is refused from that moment.",
        "What was added to a sum cannot be taken out again: nobody can tell any more which part of it was yours.",
    )


def _sums(rounds: RoundsConfig, privacy: PrivacyConfig | None) -> tuple[str, ...]:
    """Return what sums tell a server."""
    if privacy is not None and privacy.noise == "distributed":
        return (
            "What all devices of a round play, taken together, as far as the noise in every sum lets through; the "
            "budget says how far.",
            "Devices that it invents, or that work together with it, may leave their noise out: then there is less in "
            "a sum than was said.",
        )
    told = (
        f"What all devices of a round play, taken together. With no more than {counted(rounds.min_count, 'device')} in "
        "a sum, what only one of them plays gives that one away, and from it much of the rest can be computed."
    )
    if privacy is None:
        return (
            told,
            "No noise is added to a sum, so there is no differential privacy yet: no bound is promised on what a sum "
            "tells of one person.",
        )
    return (
        told,
        "That is so for the server, which sees a sum before it adds the noise. Everyone else sees what the noise lets "
        "through; the budget says how far.",
    )


def could_learn(rounds: RoundsConfig, privacy: PrivacyConfig | None = None) -> tuple[str, ...]:
    """Return what a server with this configuration could still learn, and what it does not promise."""
    masks = (
        "Masks hold also against a server that lies, while few of the devices of a round work together with it. One "
        "that invents enough devices could take masks off, and read a list."
        if rounds.masked
        else "Each list of numbers, as it is, and from it much of what its owner plays."
    )
    return (
        "That a device takes part, when, and from which network address.",
        masks,
        *_sums(rounds, privacy),
        "A device cannot check how long a server keeps what it received.",
    )
