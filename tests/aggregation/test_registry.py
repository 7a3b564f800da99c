import sys
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedpersona.aggregation.database import Database
from fedpersona.aggregation.registry import Registry
from fedpersona.aggregation.trainings import Trainings
from fedpersona.errors import DiskFull, ServerError, StateDamaged
from fedpersona.taste.model import Shared
from fedpersona.taste.model_file import unpack
from fedpersona.wire.signed_release import unseal_release
from tests.aggregation.kill_at_each_step import killed_at_each_step, run
from tests.taste.test_model_file import before

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
PUBLIC = KEY.public_key().public_bytes_raw()
SETTINGS = {"recency": 0.5}


def model(value, round_number=3):
    return Shared("popularity", "c" * 64, round_number, {"table": np.full((3, 2), value, np.float32)})


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "models"


@pytest.fixture
def registry(database, folder, clock):
    return Registry(database, folder, clock=clock)


def register(registry, *values):
    return [registry.register(model(value), SETTINGS, {"rounds": 3}, value) for value in values]


def released(registry):
    note, packed = unseal_release(registry.release(), PUBLIC, "neighbours")
    return note, unpack(packed)


@pytest.mark.parametrize(
    "name",
    ["", "../fedpersona", "..", "/etc/passwd", "a" * 63, "a" * 65, "A" * 64, "a" * 63 + "/", "a" * 64 + "\n", "é" * 64,
     "\x00" * 64, "%2e%2e"],
)  # fmt: skip
def test_what_is_no_hash_gives_no_path(registry, name):
    register(registry, 1)
    assert registry.packed(name) is None


def test_a_file_that_no_table_names_is_not_given_out(registry, folder):
    (folder / f"{'a' * 64}.model").write_bytes(b"left by a kill")
    assert registry.packed("a" * 64) is None


def test_checkpoints_are_given_out_as_long_as_their_training_runs(registry, database, folder):
    kept = Trainings(database, folder)
    training = kept.begin("popularity", SETTINGS, "c" * 64, 1)
    for number in range(3):
        kept.checkpoint(training, model(number, number), number * 4)
    assert registry.packed(model(0, 0).hash()) is None
    for number in (1, 2):
        assert unpack(registry.packed(model(number, number).hash()).read_bytes())[0].round_number == number
    registry.prune(keep=0)
    assert len(list(folder.glob("*.model"))) == 2
    assert kept.resume(training).hash() == model(2, 2).hash()
    version = registry.register(kept.resume(training), SETTINGS, {}, training)
    kept.finish(training)
    assert registry.packed(model(1, 1).hash()) is None
    assert registry.packed(model(2, 2).hash()) is not None
    assert registry.version(version).devices == 8


def test_a_model_that_an_earlier_version_left_on_the_disk_is_given_out_and_released(registry):
    (number,) = register(registry, 1)
    path = registry.packed(model(1).hash())
    path.write_bytes(before(model(1), SETTINGS))
    assert unpack(registry.packed(model(1).hash()).read_bytes())[0].hash() == model(1).hash()
    registry.promote(number, KEY, "neighbours")
    assert released(registry)[1][0].hash() == model(1).hash()


def test_registering_again_after_a_kill_makes_no_second_version(registry):
    assert register(registry, 1, 1, 2) == [1, 1, 2]
    assert [version.number for version in registry.versions()] == [2, 1]


def test_nothing_is_promoted_at_first_and_nothing_unknown_can_be(registry):
    assert (registry.promoted(), registry.release(), registry.release_tag()) == (None, None, None)
    with pytest.raises(ServerError, match="never registered"):
        registry.promote(1, KEY, "neighbours")
    with pytest.raises(ServerError, match="no version was promoted before"):
        registry.roll_back(KEY, "neighbours")


def test_a_device_can_check_what_was_promoted(registry, clock):
    register(registry, 1)
    registry.promote(1, KEY, "neighbours")
    note, (shared, settings) = released(registry)
    assert (note.version, note.issued, note.rounds) == (1, int(clock.now), 3)
    assert shared.hash() == model(1).hash() == registry.promoted().hash
    assert settings == SETTINGS
    assert registry.promoted().metrics == {"rounds": 3}


@pytest.mark.parametrize("leap", [0, -86_400, 86_400])
def test_each_release_is_newer_than_the_last_whatever_the_clock_does(registry, clock, leap):
    register(registry, 1, 2)
    seen = []
    for version in (1, 2, 1):
        registry.promote(version, KEY, "neighbours")
        seen.append(released(registry)[0].issued)
        clock.now += leap
    registry.roll_back(KEY, "neighbours")
    seen.append(released(registry)[0].issued)
    assert seen == sorted(set(seen))


def test_rolling_back_twice_goes_back_two_and_promoting_goes_on_from_there(registry):
    register(registry, 1, 2, 3, 4)
    for version in (1, 2, 3, 3):
        registry.promote(version, KEY, "neighbours")
    assert [registry.roll_back(KEY, "neighbours") for _ in range(2)] == [2, 1]
    assert registry.promoted().number == released(registry)[0].version == 1
    with pytest.raises(ServerError, match="no version was promoted before"):
        registry.roll_back(KEY, "neighbours")
    registry.promote(4, KEY, "neighbours")
    assert registry.roll_back(KEY, "neighbours") == 1


def test_pruning_keeps_the_newest_the_promoted_and_the_one_before(registry, folder):
    register(registry, 1, 2, 3, 4, 5)
    for version in (1, 2, 3):
        registry.promote(version, KEY, "neighbours")
    (folder / f"{'a' * 64}.model").write_bytes(b"left by a kill")
    (folder / "notes.txt").write_text("the operator's own")
    assert registry.prune(keep=1) == [1, 4]
    assert registry.prune(keep=1) == []
    assert [version.number for version in registry.versions() if version.pruned_at is None] == [5, 3, 2]
    assert len(list(folder.glob("*.model"))) == 3
    assert (folder / "notes.txt").exists()
    assert registry.packed(model(1).hash()) is None
    with pytest.raises(ServerError, match="pruned"):
        registry.promote(1, KEY, "neighbours")
    assert registry.roll_back(KEY, "neighbours") == 2
    with pytest.raises(ServerError, match="pruned"):
        registry.roll_back(KEY, "neighbours")
    with pytest.raises(ValueError, match="not negative"):
        registry.prune(-1)


def test_pruning_a_version_keeps_the_file_that_another_version_shares(registry):
    registry.register(model(1), SETTINGS, {}, 1)
    registry.register(model(1), {"recency": 0.9}, {}, 2)
    assert registry.prune(keep=1) == [1]
    registry.promote(2, KEY, "neighbours")
    assert released(registry)[1][1] == {"recency": 0.9}


def test_a_pruned_model_can_be_learned_again(registry):
    register(registry, 1, 2)
    registry.prune(keep=1)
    assert register(registry, 1) == [3]
    assert registry.packed(model(1).hash()) is not None


def test_a_damaged_model_is_not_promoted_and_a_damaged_release_is_not_served(registry, folder):
    register(registry, 1, 2)
    registry.promote(1, KEY, "neighbours")
    registry.packed(model(2).hash()).write_bytes(b"damage")
    with pytest.raises(StateDamaged, match="not the model"):
        registry.promote(2, KEY, "neighbours")
    assert released(registry)[0].version == 1
    (file,) = folder.glob("*.release")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(StateDamaged, match="promote version 1 again"):
        registry.release()
    registry.promote(1, KEY, "neighbours")
    assert released(registry)[0].version == 1


def test_a_full_disk_leaves_what_was_promoted(registry, folder, monkeypatch):
    register(registry, 1, 2)
    registry.promote(1, KEY, "neighbours")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DiskFull, match="Make room"):
        registry.promote(2, KEY, "neighbours")
    with pytest.raises(DiskFull, match="Make room"):
        register(registry, 3)
    assert released(registry)[0].version == registry.promoted().number == 1
    assert not list(folder.glob("*.part"))


def test_old_signed_files_go_and_the_tag_names_the_last(registry, folder):
    register(registry, 1)
    tags = set()
    for _ in range(4):
        registry.promote(1, KEY, "neighbours")
        tags.add(registry.release_tag())
    assert len(list(folder.glob("*.release"))) == 2
    assert len(tags) == 4


def prepare(folder):
    with Database(folder / "fedpersona.db") as database:
        registry = Registry(database, folder / "models")
        register(registry, 1, 2)
        registry.promote(1, KEY, "neighbours")


def act(folder):
    with Database(folder / "fedpersona.db") as database:
        registry = Registry(database, folder / "models")
        register(registry, 3)
        registry.promote(3, KEY, "neighbours")
        registry.prune(keep=0)


def look(folder):
    """Return what devices get after a restart, and check that every listed model is there and all can be done again."""
    with Database(folder / "fedpersona.db") as database:
        registry = Registry(database, folder / "models")
        before = released(registry)
        listed = [version for version in registry.versions() if version.pruned_at is None]
        there = all(registry.packed(version.hash) for version in listed)
        act(folder)
        again = released(registry)[0].version == 3 and {1, 3} <= {one.number for one in registry.versions()}
        fits = before[1][0].hash() == registry.version(before[0].version).hash
        return {"version": before[0].version, "there": there, "again": again and fits}


def test_a_kill_between_any_two_steps_leaves_a_whole_release_and_all_listed_models(tmp_path):
    found = killed_at_each_step(Path(__file__), tmp_path)
    assert all(one["there"] and one["again"] for one in found)
    assert [one["killed"] for one in found] == [True] * (len(found) - 1) + [False]
    served = [one["version"] for one in found]
    assert served == sorted(served)
    assert (served[0], served[-1]) == (1, 3)
    assert len(found) > 30


if __name__ == "__main__":
    sys.exit(run(prepare, act, look))
