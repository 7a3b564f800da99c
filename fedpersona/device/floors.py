"""The owner's floors for people: each in a sentence, changed by words, and what it means where one is lowered."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from pydantic import ValidationError

from fedpersona.device.policy import Policy
from fedpersona.device.spending import DELTA
from fedpersona.errors import ConfigError, UnknownName
from fedpersona.taste import MODELS

__all__ = ["FLOORS", "changed", "lowered", "sentences", "written"]

Value: TypeAlias = "int | float | bool | tuple[str, ...] | None"

FLOORS: Mapping[str, str] = {
    "least_cohort": "a whole number of devices, at least 2",
    "least_neighbours": "a whole number of devices from 2 to 1,024",
    "least_threshold": "a share above 0.5, at most 1, such as 0.6 or 60%",
    "allow_unmasked": "true or false",
    "largest_clip": "a length above 0, or none",
    "largest_epsilon": "a number above 0, or none",
    "most_rounds_a_day": "a whole number from 1 to 10,000",
    "least_hours_between": "a number of hours from 0 to 8,760",
    "least_separation": "a whole number of rounds from 1 to 10,000",
    "most_rounds_of_a_run": "a whole number from 1, or none",
    "largest_upload": "a number of bytes from 1, such as 64000000 or 64 MB",
    "models": f"names of taste models with commas between ({', '.join(MODELS)}), or none",
}
"""What can be set, by name, and what it may be, in words."""

_WHOLE = re.compile(r"[0-9]{1,15}")
_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?|\.[0-9]{1,9}")
_BYTES = re.compile(r"([0-9]{1,12}) ?(B|kB|MB|GB)?", re.IGNORECASE)
_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9}
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def sentences(policy: Policy) -> tuple[tuple[str, str], ...]:
    """Return every floor as it is: its name, and a sentence."""
    clip = (
        "A round may let one device weigh as much as it likes"
        if policy.largest_clip is None
        else f"No contribution may be longer than {policy.largest_clip:g}, so that no one device weighs much"
    )
    epsilon = (
        "No limit is set to privacy loss over this device’s life; rounds that add no noise are answered, too"
        if policy.largest_epsilon is None
        else f"What all rounds of this device’s life tell stays within ε {policy.largest_epsilon:g}, if their noise is "
        f"added as promised, and rounds without noise are refused. {_meaning(policy.largest_epsilon)}"
    )
    hours = policy.least_hours_between
    spacing = (
        f"At least {hours:g} hours lie between two trainings of one server"
        if hours
        else "Two trainings of one server may follow each other at once"
    )
    unmasked = (
        "A contribution may go unmasked: the server can read it"
        if policy.allow_unmasked
        else "A contribution is always masked: by itself it cannot be read, if the other devices of the round are real"
    )
    separation = (
        "Rounds of one training may be answered that follow each other, unless the training itself wants them apart"
        if policy.least_separation == 1
        else f"Of {policy.least_separation:,} rounds of one training that follow each other at most one is answered"
    )
    of_a_run = (
        "Of one training any number of rounds is answered"
        if policy.most_rounds_of_a_run is None
        else f"Of one training at most {_rounds(policy.most_rounds_of_a_run)} answered"
    )
    rounds = f"{policy.most_rounds_a_day:,} round{'' if policy.most_rounds_a_day == 1 else 's'}"
    told = {
        "least_cohort": f"At least {policy.least_cohort:,} devices are added up before anything is released",
        "least_neighbours": f"A contribution is masked with {policy.least_neighbours:,} other devices or more, or with "
        "all of a smaller round",
        "least_threshold": f"At least {_percent(policy.least_threshold)} of these have to help before a mask comes off",
        "allow_unmasked": unmasked,
        "largest_clip": clip,
        "largest_epsilon": epsilon,
        "most_rounds_a_day": f"At most {rounds} a day, all servers together",
        "least_hours_between": spacing,
        "least_separation": separation,
        "most_rounds_of_a_run": of_a_run,
        "largest_upload": f"At most {written(policy)['largest_upload']} a round",
        "models": f"Only these models are trained: {', '.join(policy.models) or 'none'}",
    }
    return tuple((name, words if words.endswith(".") else f"{words}.") for name, words in told.items())


def _rounds(count: int) -> str:
    return "one round is" if count == 1 else f"{count:,} rounds are"


def _meaning(epsilon: float) -> str:
    """Say what a limit is worth to its owner, in a sentence."""
    from fedpersona.privacy.gaussian import gaussian_mu
    from fedpersona.privacy.wording import sentence

    seen = "all that is ever released of these rounds"
    return sentence(epsilon, DELTA, gaussian_mu(epsilon, DELTA), seen=seen)


def written(policy: Policy) -> dict[str, str]:
    """Return every floor's value as :func:`changed` reads it."""
    return {name: _written(name, value) for name, value in policy.model_dump().items()}


def _written(name: str, value: Any) -> str:
    match value:
        case None | ():
            return "none"
        case bool():
            return "true" if value else "false"
        case tuple():
            return ",".join(value)
        case int() if name == "largest_upload":
            return f"{value // 10**6} MB" if value % 10**6 == 0 else f"{value} B"
        case float():
            return f"{value:.9f}".rstrip("0").rstrip(".")
        case _:
            return str(value)


def changed(policy: Policy, wishes: Mapping[str, str]) -> Policy:
    """Return a policy with some floors changed.

    Args:
        policy: as it is now.
        wishes: values in words, by name, such as ``{"least_cohort": "20"}``.

    Raises:
        UnknownName: there is no floor, or no taste model, of that name.
        ConfigError: a value is of another type or out of range; says what it may be.
    """
    found = policy.model_dump()
    for name, words in wishes.items():
        if name not in FLOORS:
            raise UnknownName("floor", name[:80], tuple(FLOORS))
        read = _READ[name](words.strip())
        if read is _NONSENSE:
            raise _out_of_range(name, words)
        found[name] = read
    try:
        return Policy(**found)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        raise _out_of_range(name, wishes.get(name, "")) from None


def _out_of_range(name: str, words: str) -> ConfigError:
    return ConfigError(f"{name} is {FLOORS[name]}, not '{words[:40]}': nothing was changed")


_NONSENSE = object()


def _whole(words: str) -> object:
    return int(words) if _WHOLE.fullmatch(words) else _NONSENSE


def _number(words: str) -> object:
    return float(words) if _NUMBER.fullmatch(words) else _NONSENSE


def _share(words: str) -> object:
    if not words.endswith("%"):
        return _number(words)
    number = _number(words[:-1].strip())
    return number / 100 if isinstance(number, float) else number


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"


def _number_or_none(words: str) -> object:
    return None if words.lower() in ("none", "") else _number(words)


def _whole_or_none(words: str) -> object:
    return None if words.lower() in ("none", "") else _whole(words)


def _truth(words: str) -> object:
    word = words.lower()
    return True if word in _TRUE else False if word in _FALSE else _NONSENSE


def _bytes(words: str) -> object:
    found = _BYTES.fullmatch(words)
    return int(found[1]) * _UNITS[(found[2] or "B").lower()] if found else _NONSENSE


def _names(words: str) -> object:
    if words.lower() in ("none", ""):
        return ()
    names = tuple(dict.fromkeys(name.strip() for name in words.split(",")))
    for name in names:
        if name not in MODELS:
            raise UnknownName("taste model", name[:80], tuple(MODELS))
    return names


_READ: Mapping[str, Callable[[str], object]] = {
    "least_cohort": _whole,
    "least_neighbours": _whole,
    "least_threshold": _share,
    "allow_unmasked": _truth,
    "largest_clip": _number_or_none,
    "largest_epsilon": _number_or_none,
    "most_rounds_a_day": _whole,
    "least_hours_between": _number,
    "least_separation": _whole,
    "most_rounds_of_a_run": _whole_or_none,
    "largest_upload": _bytes,
    "models": _names,
}


def lowered(before: Policy, after: Policy) -> dict[str, str]:
    """Return which floors ask for less care than before, by name, and what that means: words without a full stop."""
    added = tuple(name for name in after.models if name not in before.models)
    found = {
        "least_cohort": (
            after.least_cohort < before.least_cohort,
            f"sums over {after.least_cohort:,} devices may be released, where it took {before.least_cohort:,} before; "
            "in a sum over fewer people, what only you play shows more",
        ),
        "least_neighbours": (
            after.least_neighbours < before.least_neighbours,
            f"your contribution may be masked with {after.least_neighbours:,} other devices, where it took "
            f"{before.least_neighbours:,} before, and a server needs fewer of them on its side to read it",
        ),
        "least_threshold": (
            after.least_threshold < before.least_threshold,
            f"{_percent(after.least_threshold)} of the devices that yours masks with suffice to take a mask off, where "
            f"it took {_percent(before.least_threshold)} before, so a server needs fewer of them on its side",
        ),
        "allow_unmasked": (
            after.allow_unmasked and not before.allow_unmasked,
            "a server may ask for your contribution unmasked, and can then read it by itself, and from it much of what "
            "you played",
        ),
        "largest_clip": (
            _above(after.largest_clip, before.largest_clip),
            "your contribution may be longer, so that more of what you alone play shows in the sum",
        ),
        "largest_epsilon": (
            _above(after.largest_epsilon, before.largest_epsilon),
            "the limit on privacy loss is taken away: rounds are answered although nothing adds noise to their sums"
            if after.largest_epsilon is None
            else f"all rounds of this device’s life together may tell more of you than before. {_meaning_of(after)}",
        ),
        "most_rounds_a_day": (
            after.most_rounds_a_day > before.most_rounds_a_day,
            "your history goes into more sums a day, and several sums together can tell more than each alone",
        ),
        "least_hours_between": (
            after.least_hours_between < before.least_hours_between,
            "a server may train again sooner with your history, and what changed in between can show in its two sums",
        ),
        "least_separation": (
            after.least_separation < before.least_separation,
            "more rounds of one training are answered, and several sums together can tell more than each alone",
        ),
        "most_rounds_of_a_run": (
            _above(after.most_rounds_of_a_run, before.most_rounds_of_a_run),
            "your history goes into more sums of one training, and several sums together can tell more than each alone",
        ),
        "largest_upload": (
            after.largest_upload > before.largest_upload,
            f"a round may take {written(after)['largest_upload']} of your connection",
        ),
        "models": (
            bool(added),
            f"{', '.join(added)} may be trained as well, and every model asks for other sums of what you play",
        ),
    }
    return {name: words for name, (less, words) in found.items() if less}


def _meaning_of(policy: Policy) -> str:
    return "" if policy.largest_epsilon is None else _meaning(policy.largest_epsilon).rstrip(".")


def _above(after: float | None, before: float | None) -> bool:
    """Tell whether a limit was raised; None is no limit."""
    return before is not None and (after is None or after > before)
