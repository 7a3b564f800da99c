"""A plan that asks for less care than the owner's floors is refused, and the refusal names the floor."""

import pytest
from pydantic import ValidationError

from fedpersona.device.policy import Policy
from fedpersona.device.spending import DELTA, Spent
from fedpersona.errors import BelowFloor, VaultDamaged
from fedpersona.privacy.gaussian import gaussian_mu
from fedpersona.taste import MODELS
from fedpersona.wire.plan import Plan

SERVER = "https://taste.example"


class Before:
    """What was sent before, as a test likes."""

    def __init__(self, rounds=0, since=None, spent=None, answered=()) -> None:
        self.rounds, self.since = rounds, since
        self._spent, self._answered = spent or Spent(), answered
        self.asked = []

    def rounds_within(self, seconds):
        self.asked.append(seconds)
        return self.rounds

    def seconds_since_another_run(self, server, run):
        self.asked.append((server, run))
        return self.since

    def answered(self, server, run):
        assert server == SERVER
        self.asked.append(run)
        return self._answered

    def spent(self):
        return self._spent


def plan(**changes) -> Plan:
    given = {
        "model": "subspace",
        "round_number": 1,
        "cohort": 200,
        "min_count": 50,
        "ring_bits": 32,
        "seed": 1,
        "run": "a run",
        "clip": 64.0,
        "masked": True,
        "neighbours": 40,
        "threshold": 24,
    }
    return Plan(**{**given, **changes})


def check(policy=None, asked=None, *, upload=1000, before=None):
    (policy or Policy()).check(asked or plan(), upload=upload, ledger=before or Before(), server=SERVER)


def test_a_plan_at_every_floor_is_taken():
    check(upload=64_000_000, before=Before(rounds=11))


@pytest.mark.parametrize("model", MODELS)
def test_every_model_that_is_installed_is_known(model):
    check(asked=plan(model=model))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (plan(min_count=49), "least_cohort: .* 49 devices, your device wants at least 50"),
        (plan(min_count=1), "least_cohort"),
        (plan(clip=64.01), "largest_clip: .* 64.01, your device allows at most 64"),
        (plan(clip=None), "largest_clip: the round sets no limit"),
        (plan(masked=False), "allow_unmasked"),
        (plan(neighbours=39), "least_neighbours: .* with 39 other devices, your device wants at least 40"),
        (plan(neighbours=0, threshold=0), "least_neighbours"),
        (plan(threshold=23), "least_threshold: 23 of 40 devices .* wants that to take at least 0.6 of them"),
        (plan(neighbours=1000, threshold=599), "least_threshold: 599 of 1,000"),
        (plan(threshold=0), "least_threshold"),
        (plan(model="spy"), "models: the round trains 'spy', your device allows popularity"),
    ],
)
def test_a_plan_below_a_floor_is_refused_by_name(asked, words):
    with pytest.raises(BelowFloor, match=words):
        check(asked=asked)


def test_the_plan_of_a_server_that_says_nothing_else_is_above_the_floors_of_a_device_that_says_nothing_else():
    usual = Plan("subspace", 1, 200, 50, 32, 1, clip=64.0, masked=True)
    check(asked=usual)


def test_floors_of_masks_are_for_plans_with_masks():
    check(Policy(allow_unmasked=True), plan(masked=False, neighbours=0, threshold=0))


@pytest.mark.parametrize("size", [3, 10, 41, 80, 1000])
def test_at_the_floor_of_the_threshold_more_than_half_of_any_number_of_neighbours_are_needed(size):
    """Half of them and less would let a server that tells two stories get both secrets of a device."""
    from fedpersona.privacy.secagg import Parameters

    lowest = Policy(least_threshold=0.500001)
    for neighbours, threshold in ((40, 21), (80, 41), (1000, 501)):
        check(lowest, plan(neighbours=neighbours, threshold=threshold))
        needed = Parameters(neighbours, threshold).needed(size)
        assert size < 2 * needed <= 2 * size
        with pytest.raises(BelowFloor, match="least_threshold"):
            check(lowest, plan(neighbours=neighbours, threshold=threshold - 1))


def test_an_upload_above_the_largest_is_refused():
    with pytest.raises(BelowFloor, match="largest_upload: the round asks for 64,000,001 bytes"):
        check(upload=64_000_001)


def test_a_round_too_many_in_a_day_is_refused():
    before = Before(rounds=12)
    with pytest.raises(BelowFloor, match="most_rounds_a_day: 12"):
        check(before=before)
    assert 86_400 in before.asked


def test_another_run_too_soon_is_refused_and_the_same_run_goes_on():
    policy = Policy(least_hours_between=20)
    with pytest.raises(BelowFloor, match=r"least_hours_between: .* 1\.0 hours ago"):
        check(policy, before=Before(since=3600))
    check(policy, before=Before(since=None))
    check(policy, before=Before(since=20 * 3600))
    before = Before()
    check(policy, before=before)
    assert (SERVER, "a run") in before.asked


def noisy(multiplier, **changes) -> Plan:
    promised = {"noise": "central", "noise_multiplier": multiplier, "epsilon": 0.001, "delta": 1e-9}
    return plan(**{**promised, **changes})


def test_with_a_limit_a_round_without_noise_is_refused_and_without_one_it_is_taken():
    check(asked=plan())
    with pytest.raises(BelowFloor, match=r"largest_epsilon: the round adds no noise .* allows ε 1e\+06 over its life"):
        check(Policy(largest_epsilon=1e6), plan())


@pytest.mark.parametrize("noise", ["central", "distributed"])
def test_a_round_up_to_the_limit_is_taken_and_one_beyond_it_refused_whatever_the_plan_says_it_costs(noise):
    limit = Policy(largest_epsilon=2.0)
    enough = 1 / gaussian_mu(2.0, DELTA)
    check(limit, noisy(enough * (1 + 1e-9), noise=noise, epsilon=1e6, delta=0.5))
    words = r"largest_epsilon: with this round it would be ε 2\.01 at worst, from ε 0\.00 .* allows ε 2 over its life"
    with pytest.raises(BelowFloor, match=words):
        check(limit, noisy(enough * (1 - 1e-3), noise=noise, epsilon=1e-9))


def test_what_was_spent_before_counts_with_all_servers_together():
    limit, most = Policy(largest_epsilon=2.0), gaussian_mu(2.0, DELTA) ** 2
    round_of_half = noisy((most / 2) ** -0.5 * (1 + 1e-9))
    check(limit, round_of_half, before=Before(spent=Spent(most / 2)))
    with pytest.raises(
        BelowFloor, match=r"it would be ε 2\.\d+ at worst, from ε 1\.\d+ \(the round by itself ε 1\.\d+"
    ):
        check(limit, round_of_half, before=Before(spent=Spent(most * 0.51)))


def test_with_a_limit_nothing_makes_good_that_a_round_without_noise_was_answered():
    with pytest.raises(BelowFloor, match=r"its life has 2 rounds without noise already: .* every round is refused"):
        check(Policy(largest_epsilon=1e6), noisy(1e6), before=Before(spent=Spent(0.0, 2)))
    check(asked=noisy(1e6), before=Before(spent=Spent(0.0, 2)))


@pytest.mark.parametrize("multiplier", [1e-300, 5e-324, 1e-5])
def test_noise_that_hides_nothing_is_none(multiplier):
    with pytest.raises(BelowFloor, match="adds no noise that counts"):
        check(Policy(largest_epsilon=1e300), noisy(multiplier))


@pytest.mark.parametrize("multiplier", [1e9, 1e300])
def test_noise_beyond_all_use_costs_nothing_and_breaks_nothing(multiplier):
    check(Policy(largest_epsilon=1e-6), noisy(multiplier))


@pytest.mark.parametrize(
    ("mine", "theirs", "number", "before", "taken"),
    [
        (1, 1, 2, ((1, 1),), True),
        (1, 1, 1, ((1, 1),), True),
        (1, 3, 3, ((1, 3),), False),
        (1, 3, 4, ((1, 3),), True),
        (1, 1, 3, ((1, 3),), False),
        (1, 3, 1, ((1, 3),), False),
        (3, 1, 3, ((1, 1),), False),
        (3, 1, 4, ((1, 1),), True),
        (1, 5, 1, ((5, 5),), False),
        (1, 5, 10, ((9, 1), (5, 1)), False),
    ],
)
def test_of_rounds_in_a_row_one_is_answered_as_plan_earlier_plans_and_owner_want_it(
    mine, theirs, number, before, taken
):
    policy, asked = Policy(least_separation=mine), plan(round_number=number, separation=theirs)
    if taken:
        check(policy, asked, before=Before(answered=before))
    else:
        with pytest.raises(BelowFloor, match=r"least_separation: round \d of this training was answered"):
            check(policy, asked, before=Before(answered=before))


def test_of_one_training_as_many_rounds_are_answered_as_the_owner_allows():
    policy = Policy(most_rounds_of_a_run=2)
    check(policy, plan(round_number=2), before=Before(answered=((1, 1),)))
    with pytest.raises(BelowFloor, match="most_rounds_of_a_run: 2 rounds of this training were answered"):
        check(policy, plan(round_number=3), before=Before(answered=((1, 1), (2, 1))))


def test_what_the_owner_allows_is_allowed():
    policy = Policy(least_cohort=2, largest_clip=None, allow_unmasked=True, models=("ease",))
    check(policy, plan(model="ease", min_count=2, clip=None, masked=False))
    with pytest.raises(BelowFloor, match="models"):
        check(policy)


@pytest.mark.parametrize(
    "setting",
    [
        {"least_cohort": 1},
        {"least_cohort": 50.0},
        {"least_cohort": True},
        {"least_neighbours": 1},
        {"least_neighbours": 1025},
        {"least_neighbours": 40.0},
        {"least_threshold": 0.5},
        {"least_threshold": 1.01},
        {"least_threshold": float("nan")},
        {"least_threshold": "0.6"},
        {"largest_clip": 0.0},
        {"largest_clip": float("nan")},
        {"largest_clip": float("inf")},
        {"largest_epsilon": -1.0},
        {"largest_epsilon": float("nan")},
        {"most_rounds_a_day": 0},
        {"least_separation": 0},
        {"least_separation": 10_001},
        {"most_rounds_of_a_run": 0},
        {"most_rounds_of_a_run": 1.5},
        {"least_hours_between": float("nan")},
        {"least_hours_between": -1.0},
        {"largest_upload": 0},
        {"allow_unmasked": "yes"},
        {"least_cohrot": 99},
    ],
)
def test_a_floor_out_of_its_range_is_no_policy(setting):
    with pytest.raises(ValidationError):
        Policy(**setting)


def test_a_policy_cannot_be_changed_in_passing():
    with pytest.raises(ValidationError):
        Policy().least_cohort = 2


def test_a_policy_is_kept(store):
    assert Policy.load(store) == Policy()
    mine = Policy(
        least_cohort=500,
        least_neighbours=100,
        least_threshold=0.75,
        largest_epsilon=2.5,
        models=("ease", "ials"),
        least_hours_between=20,
    )
    mine.save(store)
    assert Policy.load(store) == mine


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b'{"least_cohort": "50"}',
        b'{"least_cohort": 1}',
        b'{"new_floor": 1}',
        b'{"least_threshold": 0.5}',
        b'{"least_neighbours": 1}',
    ],
)
def test_a_garbled_policy_is_never_the_default_one(store, garbage):
    with store.writing() as cursor:
        cursor.execute("INSERT INTO settings VALUES ('policy', ?)", (garbage,))
    with pytest.raises(VaultDamaged, match="stored policy"):
        Policy.load(store)
    Policy().save(store)
    assert Policy.load(store) == Policy()


def test_a_policy_that_a_version_without_secure_sums_kept_is_read_and_has_the_new_floors(store):
    with store.writing() as cursor:
        before = b'{"least_cohort": 80, "largest_clip": 64.0, "models": ["ease"], "allow_unmasked": false}'
        cursor.execute("INSERT INTO settings VALUES ('policy', ?)", (before,))
    kept = Policy.load(store)
    assert (kept.least_cohort, kept.models) == (80, ("ease",))
    assert (kept.least_neighbours, kept.least_threshold) == (40, 0.6)
    assert (kept.least_separation, kept.most_rounds_of_a_run) == (1, None)


def test_every_floor_is_explained():
    assert all(field.description for field in Policy.model_fields.values())
