"""The device's own account: each entry carries it, a limit is kept to, and nothing a server says makes it smaller."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from fedpersona import Policy
from fedpersona.device import starter
from fedpersona.device.background import Stop
from fedpersona.device.gate import Gate
from fedpersona.device.link import Offer
from fedpersona.device.spending import DELTA, Spent
from fedpersona.errors import BelowFloor
from fedpersona.privacy.gaussian import gaussian_epsilon
from fedpersona.taste import Popularity
from tests.device.servers import SERVER, Scripted, noisy, noisy_offer, offer

OTHER = "https://other.example"
PRACTICE = "https://practice.invalid"


@pytest.fixture
def account(device):
    """A device of its own, with a yes to three servers."""
    for server in (SERVER, OTHER, PRACTICE):
        device.consent.grant("share_update", server=server)
    device.policy = Policy(least_cohort=8, allow_unmasked=True)
    return device


def go(device, offered, server=SERVER):
    link = Scripted()
    gate = Gate(device.vault, device.consent, lambda: device.policy, device.ledger, device.clock)
    gate.contribute(server, link, link.opening(offered), starter.catalogue(), Stop())
    return link


def plain_offer(deviation=4.0, **changes):
    return noisy_offer(Popularity(noise=deviation), masked=False, **changes)


def last(device):
    return device.ledger.tail(1)[0]


def test_each_entry_has_the_rounds_cost_the_servers_and_all_of_this_devices_life(account):
    for number, (server, deviation) in enumerate([(SERVER, 4.0), (OTHER, 2.0), (SERVER, 1.0)]):
        go(account, plain_offer(deviation, run=str(number)), server)
    entry = last(account)
    assert (entry.noise, entry.delta, entry.epsilon, entry.separation) == ("central", 1e-5, 8.0, 1)
    assert entry.noise_multiplier == pytest.approx(1.0)
    assert entry.cost.squared == pytest.approx(1.0)
    assert entry.of_server.squared == pytest.approx(1 / 16 + 1)
    assert entry.of_life.squared == pytest.approx(1 / 16 + 1 / 4 + 1)
    assert entry.of_life.epsilon == pytest.approx(gaussian_epsilon(math.sqrt(1.3125), DELTA))
    assert account.ledger.spent() == entry.of_life
    line = str(entry)
    assert "at worst, at δ 0.000001: this round ε 4.89, this server ε 5.06, in all ε 5.71" in line
    told = json.loads(json.dumps(account.ledger.export()))[-2]["body"]["account"]
    assert told["life"]["epsilon"] == pytest.approx(entry.of_life.epsilon)
    assert told["delta"] == DELTA


def test_a_round_without_noise_is_said_to_be_unlimited_and_never_given_a_number(account):
    go(account, plain_offer())
    go(account, offer(masked=False, run="without"))
    go(account, plain_offer(run="after"))
    without, after = (entry for entry in account.ledger.tail(5) if entry.run in ("without", "after"))
    assert "no differential privacy" in str(without)
    assert "in all unlimited (1 round without noise)" in str(without)
    assert "this round ε" in str(after)
    assert "in all unlimited (1 round without noise)" in str(after)
    assert after.account["life"]["epsilon"] is None
    assert account.status()["privacy"]["life"]["epsilon"] is None


def test_epsilon_over_the_devices_limit_is_refused_and_shown_in_the_ledger(account):
    account.policy = Policy(least_cohort=8, allow_unmasked=True, largest_epsilon=1.5)
    go(account, plain_offer(run="one"))
    before = account.ledger.spent()
    with pytest.raises(BelowFloor) as refusal:
        go(account, plain_offer(run="two", epsilon=1e-3, delta=1e-12))
    assert "largest_epsilon: with this round it would be ε 1.55 at worst, from ε 1.07" in str(refusal.value)
    entry = last(account)
    assert (entry.kind, entry.reason) == ("refused", str(refusal.value))
    assert "ε 1.5 over its life" in str(entry)
    with pytest.raises(BelowFloor):
        go(account, plain_offer(run="two"), OTHER)
    go(account, plain_offer(40.0, run="small"), OTHER)
    assert before.epsilon < account.ledger.spent().epsilon <= 1.5


def test_with_a_limit_a_round_without_noise_is_refused_and_shown_in_the_ledger(account):
    account.policy = Policy(least_cohort=8, allow_unmasked=True, largest_epsilon=100.0)
    with pytest.raises(BelowFloor, match="adds no noise"):
        go(account, offer(masked=False))
    assert "adds no noise" in str(last(account))
    assert account.ledger.spent() == Spent()


def test_what_another_process_sends_while_a_round_is_computed_counts_before_it_leaves(account):
    """The limit is held against the ledger once more in the transaction that writes the entry."""
    account.policy = Policy(least_cohort=8, allow_unmasked=True, largest_epsilon=1.5)

    class Meanwhile:
        def __init__(self, device):
            self.device, self.done = device, False

        def plays(self, catalogue):
            if not self.done:
                self.done = True
                go(self.device, plain_offer(run="meanwhile"), OTHER)
            return self.device.vault.plays(catalogue)

    link = Scripted()
    gate = Gate(Meanwhile(account), account.consent, lambda: account.policy, account.ledger, account.clock)
    with pytest.raises(BelowFloor, match="largest_epsilon"):
        gate.contribute(SERVER, link, link.opening(plain_offer(run="one")), starter.catalogue(), Stop())
    assert link.messages == []
    assert len(account.ledger.contributions()) == 1


def test_a_round_that_may_have_left_counts_and_one_that_was_destroyed_does_not(account):
    class Breaking(Scripted):
        def send(self, message):
            raise ConnectionError

    link = Breaking()
    gate = Gate(account.vault, account.consent, lambda: account.policy, account.ledger, account.clock)
    with pytest.raises(ConnectionError):
        gate.contribute(SERVER, link, link.opening(plain_offer()), starter.catalogue(), Stop())
    assert last(account).outcome == "unknown"
    spent = account.ledger.spent()
    assert spent.squared == pytest.approx(1 / 16)
    account.ledger.destroyed(last(account), reason="for a test")
    assert account.ledger.spent() == Spent()
    assert "ε" not in str(last(account))


def test_what_is_deleted_of_the_history_takes_nothing_from_the_account(account):
    go(account, plain_offer())
    spent = account.ledger.spent()
    account.vault.retention_days = 1
    with account._store.writing() as cursor:
        cursor.execute("DELETE FROM listens")
    account.vault.retention_days = 1
    assert account.ledger.spent() == spent
    go(account, plain_offer(run="nothing is left"))
    assert account.ledger.spent().squared == pytest.approx(2 * spent.squared), (
        "an empty history is not told from others"
    )


def test_what_the_practice_server_got_is_in_its_own_account_and_not_in_the_devices_life(account):
    go(account, offer(masked=False), PRACTICE)
    go(account, plain_offer(run="practised"), PRACTICE)
    assert account.ledger.spent() == Spent()
    assert account.ledger.spent(PRACTICE).noiseless == 1
    assert str(last(account)).endswith(
        "this server unlimited (1 round without noise), in all ε 0.00 as before, for it stayed on this computer"
    )
    go(account, plain_offer())
    assert last(account).of_life.squared == pytest.approx(1 / 16)
    assert not last(account).of_life.noiseless
    assert "as before" not in str(last(account))


def test_entries_of_a_version_that_kept_no_account_count_as_rounds_without_noise(account):
    body = {"kind": "sent", "server": SERVER, "model": "ease", "round_number": 1, "run": "old", "plan_hash": "ab"}
    with account._store.writing() as cursor:
        account.ledger._chain.append(cursor, {**body, "masked": True, "clip": 64.0, "epsilon": None, "what": "x"}, 100)
    assert account.ledger.spent() == Spent(noiseless=1)
    assert "no differential privacy" in str(account.ledger.tail(1))
    go(account, plain_offer())
    assert last(account).of_life.noiseless == 1


def test_of_rounds_in_a_row_one_is_answered_by_the_ledger_and_not_by_what_a_later_plan_says(account):
    go(account, plain_offer(separation=3))
    for changes in ({"separation": 3}, {"separation": 1}):
        asked, first = noisy(Popularity(noise=4.0), masked=False, seed=9, **changes)
        with pytest.raises(BelowFloor, match="of 3 rounds that follow each other your device answers one"):
            go(account, Offer(asked.encode(), first))
    assert "least_separation" in str(last(account))
    go(account, plain_offer(separation=3), OTHER)
    go(account, plain_offer(separation=3, run="another training"))


def test_a_clock_that_stands_still_or_runs_back_changes_nothing_of_rounds_and_sums(account):
    go(account, plain_offer(separation=2))
    account.clock._time = lambda: 4_000_000_000.0
    account.consent.grant("share_update", server=SERVER)
    spent = account.ledger.spent()
    asked, first = noisy(Popularity(noise=4.0), masked=False, seed=9, separation=2)
    with pytest.raises(BelowFloor, match="least_separation"):
        go(account, Offer(asked.encode(), first))
    assert account.ledger.spent() == spent


def test_of_one_training_no_more_rounds_are_answered_than_the_owner_wants(account):
    account.policy = Policy(least_cohort=8, allow_unmasked=True, most_rounds_of_a_run=1)
    go(account, plain_offer())
    asked, first = noisy(Popularity(noise=4.0), masked=False, seed=9)
    with pytest.raises(BelowFloor, match="most_rounds_of_a_run"):
        go(account, Offer(asked.encode(), first))
    go(account, Offer(replace(asked, run="another").encode(), first))
