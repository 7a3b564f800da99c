import pytest

from fedpersona.simulation.report.wording import comparison, headline, size, span


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.00 kB"),
        (10_320_000, "10.3 MB"),
        (158_000_000, "158 MB"),
        (999_600, "1.00 MB"),
        (5 * 10**15, "5,000 TB"),
    ],
)
def test_a_size_is_said_in_decimal_units(number, text):
    assert size(number) == text


@pytest.mark.parametrize(("seconds", "text"), [(0.0, "0 ms"), (0.156, "156 ms"), (9.96, "10 s"), (3600, "60 min")])
def test_a_time_is_said_as_a_person_would(seconds, text):
    assert span(seconds) == text


def test_the_headline_says_people_rounds_upload_and_interval(make_record):
    text = headline(make_record())
    assert "300 people in 2 rounds" in text
    assert "0.160 [0.144, 0.176]" in text
    assert "sends 5.16 MB" in text


def test_the_headline_does_not_claim_everyone_where_devices_were_left_out(make_record, make_round):
    text = headline(make_record(rounds=[make_round(1, answered=87), make_round(2, answered=90)]))
    assert "2 rounds of 87 to 90 devices, out of 300 people" in text


def test_a_single_round_is_singular(make_record, make_round):
    text = headline(make_record(rounds=[make_round(1)]))
    assert "in 1 round," in text
    assert "A device sends" in text


def test_the_way_from_floor_to_ceiling_is_never_rounded_up_to_the_whole(make_record, make_result):
    results = [
        make_result("popularity", "floor", 0.05),
        make_result(ndcg=0.1699),
        make_result("subspace, central", "ceiling", 0.17),
    ]
    assert "covers 99 % of the way" in comparison(make_record(results))


def test_a_ceiling_below_the_federated_model_is_said_so(make_record, make_result):
    results = [
        make_result("popularity", "floor", 0.05),
        make_result(ndcg=0.16),
        make_result("kNN, central", "ceiling", 0.12),
    ]
    text = comparison(make_record(results))
    assert "no more than the federated one" in text
    assert "% of the way" not in text


@pytest.mark.parametrize(
    ("floor", "ours", "says"),
    [(0.0, 0.1, "above the floor"), (0.1, 0.08, "below the floor"), (0.1, 0.1, "equal to the floor")],
)
def test_a_model_that_is_no_multiple_of_the_floor_is_not_called_one(make_record, make_result, floor, ours, says):
    text = comparison(make_record([make_result("popularity", "floor", floor), make_result(ndcg=ours)]))
    assert says in text
    assert "times the floor" not in text


def test_a_model_below_the_floor_covers_no_way(make_record, make_result):
    results = [
        make_result("popularity", "floor", 0.1),
        make_result(ndcg=0.05),
        make_result("kNN, central", "ceiling", 0.2),
    ]
    assert "%" not in comparison(make_record(results))


def test_popularity_is_called_the_floor_itself(make_record, make_result):
    results = [make_result("popularity", "floor", 0.05), make_result("popularity", ndcg=0.05)]
    text = comparison(make_record(results))
    assert "the floor itself" in text
    assert "No central model" in text
