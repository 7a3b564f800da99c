"""What an owner reads before saying yes: one notice a purpose, in plain words and true to the code as it is.

A notice that is changed gets another hash, so that owners are asked again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from fedpersona.errors import UnknownName

__all__ = ["PURPOSES", "Notice", "Purpose", "notice"]

Purpose: TypeAlias = Literal["share_update", "share_metrics", "audit_canary"]
"""What consent can be given to, each by itself."""

PURPOSES: tuple[Purpose, ...] = get_args(Purpose)


@dataclass(frozen=True)
class Notice:
    """The current notice of one purpose."""

    purpose: Purpose
    version: int
    """Counted from 1; raised with every change of the text."""
    summary: str
    """The purpose in a few words."""
    text: str
    """All of it, in English."""

    @property
    def sha256(self) -> str:
        """SHA-256 of purpose, version and text, in hexadecimal."""
        return hashlib.sha256(f"{self.purpose}\n{self.version}\n{self.text}".encode()).hexdigest()


def notice(purpose: str) -> Notice:
    """Return the current notice of a purpose.

    Raises:
        UnknownName: there is no such purpose.
    """
    if purpose not in _NOTICES:
        raise UnknownName("purpose", purpose, PURPOSES)
    return _NOTICES[purpose]


_SHARE_UPDATE = """\
Contribute to the shared taste model

What is sent: for each round of training, one list of numbers that this device computes from your listening history,
as long for everyone, with a number for every item of the catalogue whether you played it or not. Before it is sent it
is shortened where the round sets a limit, rounded, mixed with noise where the round asks for it (see below), and
masked: random numbers are added to it. One part of these other devices of the round take away again, with lists of
their own; the other part can be taken away only if enough of those devices help. So that they can, your device hands
out pieces of its two keys of that round, each piece locked for one other device, and keeps the pieces that others
locked for it. When the round ends it gives the server, for each of those devices, its piece of one of the two keys and
never of both. With all this goes your device's signature. Your history itself (what you played, and when) is not sent.

To whom: the server at the address you say yes to, and no other. Over a network it goes encrypted, to the server that
the operator's invitation named.

Why: the server adds up the lists of all devices of a round. The sum improves a taste model that every device
downloads, and that your own device makes your playlists with.

What the server can learn: which of its enrolled devices yours is, when it is there and from which network address,
and that it takes part in a round or declines one. Without this yes your device fetches what the server publishes for
everyone, and does not say which device it is.

From one masked list it learns nothing, also if it lies to the devices, unless many of those that yours masks with work
together with it: a fifth at the very least, by the floors that a device begins with. This device cannot check that the
others are real: a server that invents that many devices could take the masks off and read your list, and from that
much of what you played. If you changed your policy to allow unmasked lists, the server reads them as they are.

The sum says something about all who took part together, and about each of them where these are few: what only you of
all played gives you away, and with it much of the rest can be computed. From one sum over 50 invented people it was
possible to compute all that each of them had played. Noise prevents that: random numbers that stay in the sum, large
beside what one person puts into it, small beside what all do. How much, and who adds it, each round says:

No noise: then nothing is promised about any one person.

Noise from the server: it adds it to the sum before it uses or shows it. The server itself can see the sum without
noise, and this device cannot check that any is added. What is promised holds if the server keeps its promise.

Noise from the devices: each adds its share before its list is masked, and so does this one. One share hides little;
the whole noise is in the sum if at least as many honest devices are in it as the round says it takes.

What it comes to: a number, ε (epsilon), says how much of you can show in all that is released. At ε 1 somebody who
knows all else about everyone, and guesses whether your history was in it, is right at most 55 times in 100; at ε 8 at
most 78 times; a coin is right 50 times. Your device works it out for itself, at worst, from the noise that the rounds
promised: for each round, for this server, and over its life with all servers. The ledger says it for each round, and
whether the list was masked. You can set a limit in your floors: then rounds without noise are refused, and so are
rounds that would pass it. At first there is no limit.

How long: until the yes runs out (after a year, unless you chose another time) or you take it back. What was added to
a sum cannot be taken out again. This device cannot check how long a server keeps what it received.

How to take it back: withdraw it in the app, or with 'fedpersona device consent withdraw'. It takes effect at once:
a round under way is stopped, and what was not sent yet is destroyed. Your playlists go on without it.
"""

_SHARE_METRICS = """\
Share how well playlists fit

What is sent: where a round of training asks for it, two numbers more in the list that this device sends if you said
yes to contributing. One says that it made a test, the other how it went: 1 if the track you played last was among the
first ten that the shared model suggests from the rest of your history, else 0. Without this yes both are 0. They are
masked like the rest of the list, and are sent under masks only. Without a yes to contributing nothing is sent.

To whom: the server at the address you say yes to, and no other.

Why: the sums over many devices tell the operator how well the shared model does, without asking anyone.

What the server can learn: on how many devices of a round the test was made, and on how many it went well; not on
which, as long as the masks hold (the notice of contributing says when they do).

How long: until the yes runs out (after a year, unless you chose another time) or you take it back. What was added to
a sum cannot be taken out again.

How to take it back: withdraw it in the app, or with 'fedpersona device consent withdraw'. It takes effect at once: a
round under way that carries the two numbers is stopped.
"""

_AUDIT_CANARY = """\
Take part in a test of the server's privacy

What is sent: nothing. This version of fedpersona has no code that adds invented plays for such a test. Your answer is
kept for a later version; that one will have another notice, and you will be asked again before anything is sent.

To whom: to nobody; your answer is for the server at the address you name.

Why you can answer now: a no is kept as well as a yes.

How long: until it runs out (after a year, unless you chose another time) or you take it back.

How to take it back: withdraw it in the app, or with 'fedpersona device consent withdraw'.
"""

_NOTICES: Mapping[str, Notice] = {
    found.purpose: found
    for found in (
        Notice("share_update", 4, "contribute to the shared taste model", _SHARE_UPDATE),
        Notice("share_metrics", 2, "share how well playlists fit", _SHARE_METRICS),
        Notice("audit_canary", 1, "take part in a test of the server's privacy", _AUDIT_CANARY),
    )
}
