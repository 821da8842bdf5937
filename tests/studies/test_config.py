"""Studies in YAML: grids of runs, and one error that tells all that is wrong."""

import dataclasses
import itertools
import re
from pathlib import Path

import pytest

from backgrad.cli import choices, main
from backgrad.errors import DatasetError, InputError
from backgrad.evaluation.words import Options
from backgrad.plain_yaml import LARGEST, read_yaml
from backgrad.studies.config import AXES, MOST_RUNS, StudyFile, make_study, parse_study, read_study
from backgrad.studies.plan import plain
from backgrad.studies.runner import check_study
from backgrad.studies.tasks import _load_data, attack_data

SMALL = {"name": "small", "datasets": "blobs2", "points": 4, "train": 20, "validation": 40, "splits": 2}


def read(tmp_path, text):
    file = tmp_path / "study.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_study(file)


def problems(content):
    with pytest.raises(InputError) as caught:
        parse_study(content)
    return str(caught.value)


# --- what users are shown -------------------------------------------------------------------------

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "studies.md"


def test_the_page_on_studies_has_a_file_that_can_be_run_and_every_key(tmp_path):
    text = PAGE.read_text(encoding="utf-8")
    (content,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert len(read(tmp_path, content).runs) == 2 * 2 * 2 * 3
    assert set(StudyFile.model_fields) <= set(re.findall(r"`(\w+)`", text))


def test_the_help_s_file_can_be_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main(["study", "--help"])
    (content,) = re.findall(r"\{name.*?\}", capsys.readouterr().out, re.DOTALL)
    assert len(read(tmp_path, content).runs) == 2 * 2 * 2 * 5


# --- grids ----------------------------------------------------------------------------------------


def test_every_combination_on_every_split_is_a_run(tmp_path):
    study = read(
        tmp_path,
        """
name: grid
description: two of most
datasets: [blobs2, spambase]
learners: [logistic, mlp]
fractions: [0.1, 0.2]
strategies: [joint, greedy]
l2: [0, 1e-3]
train: 90
splits: 3
seed: 5
""",
    )
    assert len(study.runs) == 2**5 * 3
    assert {(run.seed, run.task) for run in study.runs} == {(5, "backgrad.studies.tasks:attack")}
    assert [run.split for run in study.runs] == sorted(run.split for run in study.runs)
    found = [
        (run.settings["data"]["name"], *(run.settings["options"][k] for k in ("learner", "points", "strategy", "l2")))
        for run in study.runs
        if run.split == 0
    ]
    wanted = itertools.product(["blobs2", "spambase"], ["logistic", "mlp"], [10, 23], ["joint", "greedy"], [0.0, 0.001])
    assert sorted(found) == sorted(wanted)
    assert all((run.settings["train"], run.settings["validation"]) == (90, 400) for run in study.runs)


def test_what_is_left_out_has_the_defaults_of_the_command(tmp_path):
    (run,) = read(tmp_path, "{name: one, datasets: [spambase], splits: 1}").runs
    assert plain(run.settings["options"]) == dataclasses.asdict(Options())
    assert (run.settings["train"], run.settings["validation"], run.seed) == (100, 400, 0)


def test_every_option_can_be_an_axis():
    assert set(AXES.values()) == {field.name for field in dataclasses.fields(Options)}
    assert set(AXES) <= set(StudyFile.model_fields)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("strategies", choices.Strategy),
        ("objectives", choices.Objective),
        ("adjoints", choices.AdjointName),
        ("starts", choices.Start),
        ("knowledge", choices.KnowledgeName),
        ("labels", choices.Labels),
        ("learners", choices.LearnerName),
    ],
)
def test_the_words_are_those_of_the_command(key, words):
    file = parse_study({**SMALL, key: [str(word) for word in words]})
    assert getattr(file, key) == tuple(str(word) for word in words)
    assert "zzz" in problems({**SMALL, key: "zzz"})


def test_the_same_number_written_otherwise_is_the_same_run():
    runs = [make_study(parse_study({**SMALL, "l2": l2})).runs[0].identity for l2 in (1, 1.0, "1", [1], "1e0")]
    assert len(set(runs)) == 1


def test_a_table_counts_by_its_content(tmp_path):
    table = tmp_path / "mine.csv"
    table.write_text("a,b,label\n" + "\n".join(f"{k},{k % 3},{k % 2}" for k in range(30)))
    content = {**SMALL, "datasets": [{"path": str(table), "target": "label"}], "train": 8, "validation": 8}
    before = make_study(parse_study(content))
    check_study(before)
    table.write_text(table.read_text().replace("29,2,1", "29,2,0"))
    after = make_study(parse_study(content))
    assert not {run.identity for run in before.runs} & {run.identity for run in after.runs}
    _load_data.cache_clear()
    with pytest.raises(InputError, match="should be the one that the study was started with"):
        attack_data(before.runs[0].settings["data"])


# --- what is wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stratgies": "joint"}, "stratgies is no key (did you mean 'strategies'?)"),
        ({"learner": "mlp"}, "learner is no key (did you mean 'learners'?)"),
        ({"zzz": 1}, "zzz is no key: these are name, "),
        ({"datasets": [{"path": "a.csv", "tagret": "b"}]}, "datasets[0].tagret is no key (did you mean 'target'?)"),
        ({"datasets": [3]}, "datasets[0]: expected the name of a data set, or path, target and task of a table, got 3"),
        ({"datasets": []}, "datasets: "),
        (
            {"strategies": "joynt"},
            "strategies[0]: expected one of joint, greedy, coordinate, subpopulation, got 'joynt'",
        ),
        ({"strategies": "joynt"}, "(did you mean 'joint'?)"),
        ({"learners": ["mlp", "logstic"]}, "learners[1]: expected one of 'logistic'"),
        ({"learners": ["mlp", "mlp"]}, "learners: has 'mlp' twice: name it once"),
        ({"goals": 483}, "YAML reads this as a number or a truth value: put it in quotes"),
        ({"feasible": False}, "put it in quotes"),
        ({"points": 4.5}, "points[0]: expected a whole number"),
        ({"points": True}, "points[0]: expected a whole number"),
        ({"points": -1}, "points[0]: expected greater than or equal to 0, got -1"),
        ({"splits": 0}, "splits: expected greater than or equal to 1, got 0"),
        ({"seed": 2**32}, "seed: expected less than 4294967296"),
        ({"l2": "much"}, "l2[0]: expected a finite number, got 'much'"),
        ({"l2": float("nan")}, "l2[0]: expected a finite number"),
        ({"l2": 10**400}, "l2[0]: expected a finite number"),
        ({"l2": {"a": 1}}, "l2[0]: expected a finite number"),
        ({"hold_others": "yes"}, "hold_others[0]: expected a boolean"),
        ({"fractions": 0.1}, "points and fractions both say how much is poisoned: keep one"),
        ({"name": "../up"}, "name: expected up to 64 letters"),
        ({"name": ""}, "name: expected up to 64 letters"),
        ({"train": "many"}, "train: expected a whole number, got 'many'"),
    ],
)
def test_a_wrong_entry_is_told_with_its_place(changes, message):
    assert message in problems({**SMALL, **changes})


def test_all_that_is_wrong_is_told_together():
    text = problems({"datasets": [], "strategies": "joynt", "points": 1, "fractions": 1.5, "trane": 3})
    assert text.startswith("the study has 6 problems: (1) ")
    for part in ("name is missing", "datasets", "joynt", "fractions[0]", "trane", "keep one", "(6) "):
        assert part in text


def test_fractions_that_are_the_same_number_of_points_are_refused():
    content = {key: value for key, value in SMALL.items() if key != "points"}
    with pytest.raises(InputError, match="two that are 2 points on 20 training rows"):
        make_study(parse_study({**content, "fractions": [0.1, 0.101]}))


def test_a_grid_beyond_measure_is_refused_before_it_is_made():
    axes = {key: [k / 100 for k in range(1, 60)] for key in ("l2", "step_size", "dropout", "outer_step_size")}
    with pytest.raises(InputError, match=f"and may for {MOST_RUNS}"):
        make_study(parse_study({**SMALL, **axes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"datasets": ["blobs2", "spambse"]}, "did you mean 'spambase'"),
        ({"learners": ["logistic", "ridge"]}, "learner ridge"),
        ({"points": [4, 21]}, "at most the 20 train rows that they start from; got 21"),
        ({"validation": 600}, "at most 599 of the 600 rows"),
        ({"feasible": ["box", "binary"]}, "dataset blobs2, learner"),
        ({"goals": "8:3"}, "names the class '8'"),
        ({"momentum": 1.5}, "momentum must lie in [0, 1)"),
    ],
)
def test_combinations_that_cannot_be_are_refused_before_any_run(changes, message):
    study = make_study(parse_study({"learners": "logistic", **SMALL, **changes}))
    with pytest.raises(InputError, match=re.escape(message)):
        check_study(study)


def test_the_kind_of_error_stays():
    with pytest.raises(DatasetError):
        check_study(make_study(parse_study({**SMALL, "datasets": "spambse"})))


# --- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must hold keys and values"),
        ("- a\n- b\n", "must hold keys and values"),
        ("just words", "must hold keys and values"),
        ("name: [a\n", "is not YAML: "),
        ("name: a\n\tb: c\n", "(line 2, column 1)"),
        ("name: a\nsplits: 1\nname: b\n", "has the key 'name' twice, in lines 1 and 3"),
        ("datasets:\n- path: a\n  path: b\n", "has the key 'path' twice, in lines 2 and 3"),
        ("a: &x [1]\nb: *x\n", "must not use anchors (& and *), but does in line 1"),
        ("? [a, b]\n: c\n", "must have words as keys"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested more than 20 deep in line 1"),
        ("name: !!python/object/apply:os.system ['true']\n", "is not YAML: could not determine a constructor"),
        ("name: !!python/name:os.system\n", "is not YAML: could not determine a constructor"),
        ("day: 2024-02-30\n", "has a value that is none"),
        (b"name: \xff\xfe\n", "must be text in UTF-8"),
        ("name: \x07\n", "is not YAML"),
        ("a: 1\n---\nb: 2\n", "is not YAML: but found another document"),
        ("#" * (LARGEST + 1), "must have 256 KiB or less"),
    ],
)
def test_a_file_that_is_no_study_is_refused_with_its_place(text, message, tmp_path):
    with pytest.raises(InputError, match=re.escape(message)):
        read(tmp_path, text)


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    for path in (tmp_path / "nothing.yaml", tmp_path):
        with pytest.raises(InputError, match="cannot be read"):
            read_yaml(path)
