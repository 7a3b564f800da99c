"""A plan that asks for less care than the owner's floors is refused, and the refusal names the floor."""

import pytest
from pydantic import ValidationError

from fedpersona.device.policy import Policy
from fedpersona.errors import BelowFloor, VaultDamaged
from fedpersona.taste import MODELS
from fedpersona.wire.plan import Plan

SERVER = "https://taste.example"


class Before:
    """What was sent before, as a test likes."""

    def __init__(self, rounds=0, since=None) -> None:
        self.rounds, self.since = rounds, since
        self.asked = []

    def rounds_within(self, seconds):
        self.asked.append(seconds)
        return self.rounds

    def seconds_since_another_run(self, server, run):
        self.asked.append((server, run))
        return self.since


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
        (plan(model="spy"), "models: the round trains 'spy', your device allows popularity"),
    ],
)
def test_a_plan_below_a_floor_is_refused_by_name(asked, words):
    with pytest.raises(BelowFloor, match=words):
        check(asked=asked)


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


@pytest.mark.parametrize("policy", [Policy(), Policy(least_cohort=2, largest_clip=None, allow_unmasked=True)])
@pytest.mark.parametrize("epsilon", [1e-9, 0.1, 8.0, 1e9])
def test_a_servers_promise_of_differential_privacy_is_not_taken_whatever_else_is_allowed(policy, epsilon):
    with pytest.raises(BelowFloor, match=r"epsilon: .* cannot check that noise is added, so it takes no promise"):
        check(policy, plan(epsilon=epsilon))


@pytest.mark.parametrize("epsilon", [None, 1e-9, 0.1, 200.0])
def test_with_a_limit_to_epsilon_every_round_is_refused(epsilon):
    check(asked=plan(epsilon=None))
    with pytest.raises(BelowFloor, match=r"largest_epsilon: .* ε 100 over its life, .* no differential privacy"):
        check(Policy(largest_epsilon=100.0), plan(epsilon=epsilon))


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
        {"largest_clip": 0.0},
        {"largest_clip": float("nan")},
        {"largest_clip": float("inf")},
        {"largest_epsilon": -1.0},
        {"largest_epsilon": float("nan")},
        {"most_rounds_a_day": 0},
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
    mine = Policy(least_cohort=500, largest_epsilon=2.5, models=("ease", "ials"), least_hours_between=20)
    mine.save(store)
    assert Policy.load(store) == mine


@pytest.mark.parametrize(
    "garbage",
    [b"", b"{", b"null", b"[]", b"\xff\xfe", b'{"least_cohort": "50"}', b'{"least_cohort": 1}', b'{"new_floor": 1}'],
)
def test_a_garbled_policy_is_never_the_default_one(store, garbage):
    with store.writing() as cursor:
        cursor.execute("INSERT INTO settings VALUES ('policy', ?)", (garbage,))
    with pytest.raises(VaultDamaged, match="stored policy"):
        Policy.load(store)
    Policy().save(store)
    assert Policy.load(store) == Policy()


def test_every_floor_is_explained():
    assert all(field.description for field in Policy.model_fields.values())
