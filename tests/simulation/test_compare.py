import json

import numpy as np
import pytest

from fedpersona.errors import ConfigError, DataError, DataNotFound
from fedpersona.simulation.compare import compare
from fedpersona.simulation.record import DataFacts, Result, RunConfig, RunRecord, ServingChoice

METRICS = ("ndcg@10", "recall@20", "mrr", "hr@10")


def per_person(values, people=None):
    people = np.arange(len(values)) if people is None else np.asarray(people)
    return {"person_ids": people.astype(np.int64), **{metric: np.asarray(values, np.float64) for metric in METRICS}}


@pytest.fixture
def leave(tmp_path):
    def leave(name, arrays, *, data_hash="a" * 64, role="federated", bytes_up=2_000_000):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        mean = float(np.mean(arrays["ndcg@10"])) if len(arrays["ndcg@10"]) else 0.0
        serving = ServingChoice(recency=None, discount=0.0, val_ndcg=0.1)
        result = Result(
            name="subspace",
            role=role,
            serving=serving,
            val={},
            test=dict.fromkeys(METRICS, mean),
            intervals=dict.fromkeys(METRICS, (mean - 0.01, mean + 0.01)),
            sampled=None,
            discovery={},
            tertiles={},
            bytes_up=bytes_up,
            seconds=1.0,
        )
        record = RunRecord(
            config=RunConfig(dataset="synthetic"),
            settings={},
            versions={},
            git_revision=None,
            started="2026-01-05T10:00:00+00:00",
            data=DataFacts(
                name="invented_people",
                hash=data_hash,
                question=data_hash,
                kind="track",
                people=9,
                items=9,
                interactions=9,
                timed=False,
            ),
            rounds=[],
            tuning=[],
            results=[result],
            model_hash="",
            seconds={},
        )
        (folder / "run.json").write_text(record.model_dump_json())
        np.savez(folder / "per_person.npz", **arrays)
        return folder

    return leave


def cells(table, row):
    return [cell.strip() for cell in table.splitlines()[2 + row].strip("|").split(" | ")]


def test_a_clear_difference_is_found_and_its_sign_is_that_of_the_later_run(leave):
    base = np.random.default_rng(0).random(400) * 0.2
    table = compare([leave("base", per_person(base)), leave("better", per_person(base + 0.05))])
    assert cells(table, 0)[-2:] == ["–", "–"]
    assert cells(table, 1)[-2:] == ["+0.050 [+0.050, +0.050]", r"\< 0.001"]
    assert "randomisation test" in table


def test_equal_runs_do_not_differ(leave):
    base = np.random.default_rng(0).random(50)
    table = compare([leave("one", per_person(base)), leave("two", per_person(base))])
    assert cells(table, 1)[-1] == "1.000"


def test_people_are_matched_by_who_they_are_not_by_where_they_stand(leave):
    values = np.random.default_rng(1).random(60)
    shuffled = np.random.default_rng(2).permutation(60)
    some = np.sort(shuffled)[10:]
    first = leave("first", per_person(values[shuffled], shuffled))
    table = compare([first, leave("second", per_person(values[some], some))])
    assert cells(table, 1)[-2:] == ["+0.000 [+0.000, +0.000]", "1.000"]


def test_runs_on_other_data_are_shown_and_not_tested(leave):
    first = leave("first", per_person([0.1, 0.2]))
    table = compare([first, leave("second", per_person([0.1, 0.2]), data_hash="b" * 64)])
    assert cells(table, 1)[-2:] == ["–", "not tested: other data"]
    assert "second was not tested against first: their data differ" in table
    assert "bbbbbbbbbbbb" in table
    assert "randomisation" not in table


def test_nobody_in_common_is_refused(leave):
    first = leave("first", per_person([0.1, 0.2]))
    with pytest.raises(DataError, match="measured nobody that"):
        compare([first, leave("second", per_person([0.1, 0.2], [7, 8]))])


def test_one_run_is_a_table_without_a_test(leave):
    table = compare([leave("alone", per_person([0.1, 0.3]))])
    assert cells(table, 0)[:4] == ["alone", "subspace", r"invented\_people", "0.200 [0.190, 0.210]"]
    assert "randomisation" not in table


def test_folders_of_one_name_are_told_apart(leave):
    table = compare([leave("monday/run", per_person([0.1])), leave("tuesday/run", per_person([0.1]))])
    assert [cells(table, row)[0] for row in (0, 1)] == ["monday/run", "tuesday/run"]


def test_latex_escapes_what_latex_reads(leave):
    first = leave("[a_b&c%d$e#f{g}~h^i", per_person([0.1, 0.2]), bytes_up=None)
    table = compare([first, leave("plain", per_person([0.3, 0.4]))], style="latex")
    assert r"{}[a\_b\&c\%d\$e\#f\{g\}\textasciitilde{}h\textasciicircum{}i & subspace & invented\_people" in table
    assert r"NDCG@10 [95 \%]" in table
    body = table.split(r"\toprule")[1].split(r"\bottomrule")[0]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert [line.replace(r"\&", "").count("&") for line in rows] == [10, 10, 10]


def test_a_private_run_is_told_from_one_that_is_not(leave):
    folder = leave("private", per_person([0.1, 0.2]))
    record = json.loads((folder / "run.json").read_text())
    counted = {"epsilon_pld": 2.0, "epsilon_rdp": 2.2, "epsilon_exact": 2.0, "mu": 0.5}
    noise = {"noise": "central", "noise_multipliers": [2.0], "deviation": 2.0, "rounds": 1, "people": 9, "shares": None}
    record["privacy"] = {"epsilon": 2.0, "delta": 1e-5, "sentence": "", "curve": [], **counted, **noise}
    (folder / "run.json").write_text(json.dumps(record))
    assert "| subspace, ε = 2 |" in compare([folder])
    assert r"subspace, $\varepsilon$ = 2" in compare([folder], style="latex")
    assert "ε" not in compare([leave("plain", per_person([0.1, 0.2]))])


def test_markdown_cells_stay_cells(leave):
    table = compare([leave("a|b*c", per_person([0.1]))])
    assert r"a\|b\*c" in table


def test_nothing_or_an_unknown_style_is_refused(leave):
    with pytest.raises(ConfigError, match="nothing to compare"):
        compare([])
    with pytest.raises(ConfigError, match="'html'"):
        compare([leave("run", per_person([0.1]))], style="html")


def test_a_missing_folder_or_file_is_named(leave, tmp_path):
    with pytest.raises(DataNotFound, match="nowhere"):
        compare([tmp_path / "nowhere"])
    folder = leave("run", per_person([0.1]))
    (folder / "per_person.npz").unlink()
    with pytest.raises(DataNotFound, match=r"per_person\.npz"):
        compare([folder])
    (folder / "run.json").unlink()
    with pytest.raises(DataNotFound, match=r"run\.json"):
        compare([folder])


@pytest.mark.parametrize("keep", [0, 1, 10, 100, 400])
def test_a_truncated_file_is_named(leave, keep):
    folder = leave("run", per_person(np.linspace(0, 1, 50)))
    file = folder / "per_person.npz"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"per_person\.npz: is not a whole"):
        compare([folder])


def test_a_flipped_byte_or_a_lone_array_is_not_a_run(leave):
    folder = leave("run", per_person(np.linspace(0, 1, 50)))
    file = folder / "per_person.npz"
    whole = bytearray(file.read_bytes())
    whole[len(whole) // 3] ^= 0xFF
    file.write_bytes(whole)
    with pytest.raises(DataError, match=r"per_person\.npz"):
        compare([folder])
    with file.open("wb") as stream:
        np.save(stream, np.zeros(3))
    with pytest.raises(DataError, match=r"per_person\.npz"):
        compare([folder])


@pytest.mark.parametrize(
    ("arrays", "place"),
    [
        (per_person([0.1, np.nan]), "ndcg@10"),
        (per_person([0.1, 0.2], [3, 3]), "person_ids"),
        (per_person([0.1, 0.2]) | {"person_ids": np.zeros((2, 1), np.int64)}, "person_ids"),
        (per_person([0.1, 0.2]) | {"person_ids": np.array([0.0, 1.0])}, "person_ids"),
        (per_person([0.1, 0.2]) | {"person_ids": np.array([0])}, "ndcg@10"),
        (per_person([0.1, 0.2]) | {"person_ids": np.array([0, 1], object)}, "per_person"),
    ],
    ids=["not finite", "twice", "two axes", "fractions", "unequal lengths", "objects"],
)
def test_figures_that_are_not_one_a_person_are_refused(leave, arrays, place):
    arrays["ndcg@10"], values = np.array([0.1, 0.2]), arrays["ndcg@10"]
    folder = leave("run", arrays)
    np.savez(folder / "per_person.npz", **(arrays | {"ndcg@10": values}))
    with pytest.raises(DataError, match=place):
        compare([folder])


def test_a_missing_array_is_named(leave):
    folder = leave("run", per_person([0.1]))
    np.savez(folder / "per_person.npz", person_ids=np.arange(1))
    with pytest.raises(DataError, match="ndcg@10"):
        compare([folder])


def test_a_broken_record_is_named(leave):
    folder = leave("run", per_person([0.1]))
    (folder / "run.json").write_text("{")
    with pytest.raises(DataError, match=r"run\.json"):
        compare([folder])


def test_a_record_without_a_federated_result_is_refused(leave):
    with pytest.raises(DataError, match="lacks figures"):
        compare([leave("run", per_person([0.1]), role="floor")])
