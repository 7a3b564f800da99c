"""Devices that help a lying server: below 2t - k of a device's neighbours they do not get its update, from there on
they do. Both are shown, so that the numbers of ``docs/secure-aggregation.md`` are what they are said to be.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from fedpersona.errors import PlanRefused
from fedpersona.privacy.secagg import Parameters
from fedpersona.privacy.secagg.keys import PrivateKey, agree, self_seed
from fedpersona.privacy.secagg.masks import add_masks
from fedpersona.privacy.secagg.messages import decode_shares, encode_signatures
from fedpersona.privacy.secagg.shamir import recover
from fedpersona.privacy.secagg.survivors import encoded_bits
from tests.privacy.secagg.rounds import Round, after
from tests.privacy.secagg.statistic import looks_uniform

GRAPH = (40, Parameters(10, 7))
WORDS = 2000


class Attack:
    """The server wants one device's update. All devices that are not its neighbours help, and ``helping`` that are.

    They sign any list, and give all that they hold. Honest neighbours are told one of two lists, with the victim
    in the sum and without it; each answers once.
    """

    def __init__(self, helping: int, needed: int | None = None) -> None:
        self.round = after("train", GRAPH, WORDS)
        self.everybody = frozenset(range(GRAPH[0]))
        self.victim = max(self.everybody, key=lambda place: len(self.round.neighbours(place)))
        self.neighbours = self.round.neighbours(self.victim)
        self.needed = self.round.needed(self.victim)
        self.colluding = self.everybody - {self.victim} - set(self.neighbours[helping:])
        self.honest = self.neighbours[helping:]
        # What those who collude hold of the victim: both kinds.
        self.b: dict[int, int] = {}
        self.s: dict[int, int] = {}
        for place in set(self.neighbours) & self.colluding:
            held = self.round.people[place].machine._secrets.held[self.victim]
            self.b[place + 1], self.s[place + 1] = number(held[:32]), number(held[32:])

    def told(self, dropped: set[int]) -> None:
        """Tell some honest neighbours that the victim left, the others and itself that it did not; ask all."""
        lists = {place: self.everybody - {self.victim} if place in dropped else self.everybody for place in self.honest}
        lists[self.victim] = self.everybody
        signed: dict[frozenset[int], dict[int, bytes]] = {self.everybody: {}, self.everybody - {self.victim}: {}}
        agreed = {}
        for place, found in lists.items():
            agreed[found] = self.round.people[place].machine.agree(encoded_bits(found, GRAPH[0]))
            signed[found][place] = self.round.people[place].sign("query.agree", agreed[found])
        for place in self.colluding:
            for found, body in agreed.items():
                signed[found][place] = self.round.people[place].sign("query.agree", body)
        for place in self.honest:
            of_neighbours = {at: one for at, one in signed[lists[place]].items() if at in self.round.neighbours(place)}
            try:
                answer = self.round.people[place].machine.unmask(encode_signatures(of_neighbours))
            except PlanRefused:
                continue
            share = decode_shares(answer, self.round.neighbours(place)).get(self.victim)
            if share is not None:
                (self.s if place in dropped else self.b)[place + 1] = number(share)

    def opened(self) -> np.ndarray:
        """Take off the victim's vector all that there are shares enough for."""
        words = self.round.sent[self.victim].copy()
        roster = self.round.server._roster
        if len(self.b) >= self.needed:
            add_masks(words, subtracted=[self_seed(first(self.b, self.needed), roster)])
        if len(self.s) >= self.needed:
            entries = self.round.server._closed().entries
            key = PrivateKey(first(self.s, self.needed))
            assert key.public == entries[self.victim].s
            seeds = {other: agree(key.exchange(entries[other].s), roster) for other in self.neighbours}
            add_masks(
                words,
                [seed for other, seed in seeds.items() if other < self.victim],
                [seed for other, seed in seeds.items() if other > self.victim],
            )
        return words

    @property
    def plain(self) -> np.ndarray:
        return self.round.people[self.victim].plain


def number(share: bytes) -> int:
    return int.from_bytes(share, "little")


def first(shares: dict[int, int], needed: int) -> int:
    return recover(dict(list(shares.items())[:needed]))


@cache
def limit() -> tuple[int, int, int]:
    """Degree, t and 2t - k of the victim."""
    attack = Attack(0)
    degree = len(attack.neighbours)
    return degree, attack.needed, 2 * attack.needed - degree


def test_with_2t_minus_k_colluding_neighbours_a_server_that_shows_two_lists_opens_an_update():
    _, needed, collude = limit()
    assert 0 < collude < needed
    attack = Attack(collude)
    attack.told(set(attack.honest[: needed - collude]))
    assert (len(attack.b), len(attack.s)) == (needed, needed)
    assert np.array_equal(attack.opened(), attack.plain)


@pytest.mark.parametrize("fewer", [1, 2, 4])
def test_with_fewer_it_does_not_however_it_divides_the_others(fewer):
    """Though every device that is not a neighbour of the victim works with it."""
    degree, needed, collude = limit()
    for dropped in range(degree - (collude - fewer) + 1):
        attack = Attack(max(0, collude - fewer))
        attack.told(set(attack.honest[:dropped]))
        assert min(len(attack.b), len(attack.s)) < needed
        assert looks_uniform(attack.opened() - attack.plain)


def test_with_t_colluding_neighbours_nobody_else_has_to_answer():
    _, needed, _ = limit()
    attack = Attack(needed)
    assert np.array_equal(attack.opened(), attack.plain)


def test_with_one_fewer_than_t_the_shares_that_they_hold_open_nothing():
    _, needed, _ = limit()
    attack = Attack(needed - 1)
    assert looks_uniform(attack.opened() - attack.plain)


def test_devices_that_collude_cannot_sign_for_honest_ones():
    """t of a device's own neighbours have to sign its list: with fewer than t who help, honest ones are needed."""
    round_ = after("train", GRAPH, WORDS)
    device = round_.people[0]
    needed = round_.needed(0)
    short = encoded_bits(set(range(GRAPH[0])) - {39}, GRAPH[0])
    body = device.machine.agree(short)
    signed = {other: round_.people[other].sign("query.agree", body) for other in round_.neighbours(0)[: needed - 1]}
    with pytest.raises(PlanRefused, match=f"{needed - 1} neighbours saw the list"):
        device.machine.unmask(encode_signatures(signed))


def test_a_sum_without_the_updates_of_those_who_collude_is_what_they_learn():
    """What no protocol prevents: they know their own, so the sum is of the others, and never of fewer than three."""
    round_: Round = after("unmask", GRAPH)
    total = round_.server.open()
    rest = total - round_.sum_of(range(3, GRAPH[0]))
    assert np.array_equal(rest, round_.sum_of(range(3)))
