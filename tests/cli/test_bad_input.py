"""Bad input: exit code 2, one sentence, and nothing left behind."""

import pytest

from tests.cli.support import TINY, run

FEW = ["--train", "20", "--validation", "40", "--splits", "1", "--steps", "30", "--points", "4", "--outer-steps", "2"]
SURROGATE = ["--points", "4", "--knowledge", "surrogate-data"]
NAN, INF = "nan", "inf"

BAD = {
    "unknown data set": (["attack", "spambas"], "got 'spambas'; did you mean 'spambase'?"),
    "nothing like a data set": (["attack", "nosuch"], "blobs3), or the path of a CSV file, got 'nosuch'; choose one"),
    "a data set that was not fetched": (["curve", "mnist-full"], "or the option --download, fetches it from OpenML"),
    "defences of responses": (
        ["defend", "diabetes"],
        "backgrad defend compares defences of classifiers, and diabetes has responses: name a table of classes",
    ),
    "cleaning responses": (
        ["clean", "diabetes", "--defence", "sphere"],
        "backgrad clean judges labels, and diabetes has responses: name a table of classes",
    ),
    "unknown verb": (["poison"], "No such command 'poison'. Try 'backgrad --help'."),
    "unknown option": (["attack", "blobs2", "--budget", "3"], "Try 'backgrad attack --help'."),
    "missing data set": (["attack"], "Missing argument"),
    "two data sets": (["attack", "blobs2", "iris"], "unexpected extra argument"),
    "unknown learner": (["attack", "blobs2", "--learner", "forest"], "'forest' is not one of 'logistic', 'softmax'"),
    "unknown strategy": (["attack", "blobs2", "--strategy", "all"], "'all' is not one of 'joint', 'greedy'"),
    "unknown adjoint": (["attack", "blobs2", "--adjoint", "adam"], "'adam' is not one of 'checkpointed'"),
    "unknown objective": (["attack", "blobs2", "--objective", "hinge"], "'hinge' is not one of 'zero-one'"),
    "unknown feasible set": (
        ["attack", "blobs2", *FEW, "--feasible", "ball"],
        "--feasible must start with one of box, box:A..B, binary",
    ),
    "unknown start": (["attack", "blobs2", "--start", "test"], "'test' is not one of 'train', 'validation'"),
    "points in words": (["attack", "blobs2", "--points", "many"], "Invalid value for '--points'"),
    "too many points": (["attack", "blobs2", *FEW, "--points", "21"], "ask for at most 20, or raise --train"),
    "too many points for validation": (
        ["attack", "blobs2", *FEW, "--points", "41", "--start", "validation"],
        "ask for at most 40, or raise --validation",
    ),
    "negative points": (["attack", "blobs2", *FEW, "--points", "-1"], "got -1"),
    "no splits": (["attack", "blobs2", *FEW, "--splits", "0"], "--splits must be 1 or more; got 0"),
    "no training rows": (
        ["attack", "blobs2", *FEW, "--points", "0", "--train", "0"],
        "train (rows) must be at least 1",
    ),
    "no test rows": (["attack", "blobs2", *FEW, "--validation", "580"], "train and validation may take at most 599"),
    "one class": (["attack", "blobs2", *FEW, "--train", "1", "--points", "1"], "should hold at least two classes"),
    "goal without a colon": (["attack", "mnist", "--learner", "softmax", "--goal", "8-3"], "such as 8:3 or 8:3,4:9"),
    "goal of a strange class": (["attack", "iris", "--learner", "softmax", "--goal", "8:3"], "the classes are setosa"),
    "goal that sends a class twice": (
        ["attack", "mnist", "--learner", "softmax", "--goal", "8:3,8:4"],
        "the class '8' to two others",
    ),
    "goal that sends a class to itself": (["attack", "mnist", "--learner", "softmax", "--goal", "8:8"], "to itself"),
    "holding others of a generic goal": (["attack", "blobs2", *FEW, "--hold-others"], "belongs to goals such as"),
    "negative seed": (
        ["attack", "blobs2", *FEW, "--seed", "-1"],
        "seed must be a whole number from 0 to 2**32 - 1; got -1",
    ),
    "binary on grey pixels": (
        ["attack", "mnist", "--learner", "softmax", "--feasible", "binary"],
        "those of mnist are not: use --feasible box",
    ),
    "binary learner on three classes": (["attack", "iris", *FEW, "--learner", "adaline"], "use softmax or mlp, or two"),
    "step size not a number": (["attack", "blobs2", *FEW, "--step-size", NAN], "step_size must be a positive finite"),
    "step size infinite": (["attack", "blobs2", *FEW, "--step-size", INF], "step_size must be a positive finite"),
    "step size negative": (["attack", "blobs2", *FEW, "--step-size", "-0.1"], "step_size must be a positive finite"),
    "no steps": (["attack", "blobs2", *FEW, "--steps", "0"], "steps must be a positive whole number; got 0"),
    "momentum of one": (["attack", "blobs2", *FEW, "--momentum", "1"], "momentum must lie in [0, 1)"),
    "negative l2": (["attack", "blobs2", *FEW, "--l2", "-1"], "l2 must be a finite number, 0 or more"),
    "attack steps": (["attack", "blobs2", *FEW, "--attack-steps", "0"], "steps must be a positive whole number"),
    "attack step size": (["attack", "blobs2", *FEW, "--attack-step-size", NAN], "step_size must be a positive finite"),
    "outer steps": (["attack", "blobs2", *FEW, "--outer-steps", "0"], "iterations must be a positive whole number"),
    "outer step size": (["attack", "blobs2", *FEW, "--outer-step-size", "0"], "must be a positive"),
    "outer step size not a number": (["attack", "blobs2", *FEW, "--outer-step-size", NAN], "must be a positive"),
    "outer step size infinite": (["attack", "blobs2", *FEW, "--outer-step-size", INF], "must be a positive"),
    "epsilon infinite": (["attack", "blobs2", *FEW, "--strategy", "greedy", "--epsilon", INF], "epsilon"),
    "epsilon not a number": (
        ["attack", "blobs2", *FEW, "--strategy", "greedy", "--epsilon", NAN],
        "epsilon must be a finite",
    ),
    "negative reuse": (["attack", "blobs2", *FEW, "--reuse", "-1"], "reuse must be"),
    "official test rows that do not exist": (
        ["attack", "blobs2", *FEW, "--official-test"],
        "--official-test needs data with test rows of their own; blobs2 has none",
    ),
    "batches of nothing": (["attack", "blobs2", *FEW, "--batch-size", "0"], "batch_size must be a positive whole"),
    "negative rehearsal": (["attack", "blobs2", *FEW, "--rehearsal", "-1"], "rehearsal must be"),
    "dropout of everything": (["attack", "blobs2", *FEW, "--dropout", "1"], "dropout must lie in [0, 1); got 1.0"),
    "dropout not a number": (["attack", "blobs2", *FEW, "--dropout", NAN], "dropout must lie in [0, 1)"),
    "dropout of a greedy attack": (
        ["attack", "blobs2", *FEW, "--strategy", "greedy", "--dropout", "0.1"],
        "--dropout belongs to --strategy joint",
    ),
    "epsilon of a joint attack": (["attack", "blobs2", *FEW, "--epsilon", "0.1"], "joint has none"),
    "a seed past what JAX takes": (["attack", "blobs2", *FEW, "--seed", str(2**64)], "seed"),
    "momentum not a number": (["attack", "blobs2", *FEW, "--momentum", NAN], "momentum must lie in"),
    "attack schedule without descent": (
        ["attack", "blobs2", "--adjoint", "implicit", "--attack-steps", "5"],
        "need a victim trained by descent",
    ),
    "points and fractions": (
        ["attack", "blobs2", *FEW, "--fractions", "0,0.1"],
        "--points and --fractions both set the budget",
    ),
    "fractions in words": (["attack", "blobs2", "--fractions", "0,few"], "--fractions must be numbers and commas"),
    "fraction of one": (["curve", "blobs2", "--fractions", "0,1"], "--fractions must lie in [0, 1); got 1"),
    "unknown knowledge": (["attack", "blobs2", "--knowledge", "some"], "'some' is not one of 'perfect'"),
    "surrogates of perfect knowledge": (
        ["attack", "blobs2", *FEW, "--surrogates", "mlp"],
        "--surrogates belongs to --knowledge surrogate-learner",
    ),
    "unknown surrogate": (
        ["attack", "blobs2", *FEW, "--knowledge", "surrogate-learner", "--surrogates", "forest"],
        "learner must be one of logistic",
    ),
    "unknown victim": (
        ["attack", "blobs2", *FEW, "--victims", "RandomForest"],
        "got 'RandomForest': did you mean RandomForestClassifier?",
    ),
    "a victim that needs settings": (
        ["attack", "blobs2", *FEW, "--victims", "VotingClassifier"],
        "cannot be made without settings",
    ),
    "a victim twice": (["transfer", "blobs2", "--victims", "mlp,mlp"], "--victims names mlp twice"),
    "two victims of a curve": (["curve", "blobs2", "--victim", "mlp,svm"], "--victim takes one learner"),
    "unknown scorer": (
        ["curve", "blobs2", "--scorers", "goodness"],
        "goodness does not ('goodness' is not a valid",
    ),
    "limit not a number": (["curve", "blobs2", "--limit", NAN], "--limit must be a finite number"),
    "limit in percent": (
        ["curve", "blobs2", "--limit", "20"],
        "--limit is a share of test rows and must lie in [0, 1); got 20: 20 % are 0.2",
    ),
    "negative limit": (["curve", "blobs2", "--limit", "-0.1"], "must lie in [0, 1); got -0.1"),
    "limit in the unit of responses": (
        ["curve", "diabetes", *FEW[:8], "--limit", "3000"],
        "of responses scaled to [0, 1] and must lie in [0, 1); got 3000: divide that of the responses themselves by",
    ),
    "upper end without a limit": (["curve", "blobs2", "--criterion", "upper"], "says what must pass --limit: give"),
    "upper end of two splits": (
        ["curve", "blobs2", "--criterion", "upper", "--limit", "0.2", "--splits", "2"],
        "--splits must be 3 or more; got 2",
    ),
    "scores of classes for responses": (
        ["curve", "diabetes", *FEW[:8], "--scorers", "r2,f1_macro"],
        "scorers must fit the victim and the data, and f1_macro does not (",
    ),
    "a score of two classes for three": (
        ["curve", "iris", "--learner", "softmax", "--train", "60", "--validation", "60", "--scorers", "f1,roc_auc"],
        "and f1 does not (Target is multiclass but average='binary'): take another, such as f1_macro",
    ),
    "a score of probabilities for a learner without": (
        ["curve", "blobs2", *FEW[:8], "--scorers", "neg_log_loss"],
        "scorers must fit the victim and the data, and neg_log_loss does not (",
    ),
    "transfer from unknown schedules": (
        ["transfer", "blobs2", "--knowledge", "unknown-schedule"],
        "'unknown-schedule' is not one of 'perfect', 'surrogate-data'. Try 'backgrad transfer --help'.",
    ),
    "the attacker's training of guessed schedules": (
        ["attack", "blobs2", *FEW, "--knowledge", "unknown-schedule", "--attack-steps", "5"],
        "--attack-steps and --attack-step-size do not belong to --knowledge unknown-schedule",
    ),
    "the attacker's training of surrogates": (
        ["curve", "blobs2", *FEW[:8], "--knowledge", "surrogate-learner", "--attack-step-size", "0.1"],
        "do not belong to --knowledge surrogate-learner",
    ),
    "an adjoint without gradients": (
        ["attack", "blobs2", *FEW, "--strategy", "subpopulation", "--adjoint", "back-gradient"],
        "--strategy subpopulation follows none: leave it out",
    ),
    "too few rows for surrogate data": (
        ["attack", "wine", "--learner", "softmax", "--train", "80", "--validation", "60", *SURROGATE],
        "surrogate data need 80 rows",
    ),
    "a table without a target": (["attack", "rows.csv"], "name the column of its labels or responses with --target"),
    "a table that is not there": (["attack", "rows.csv", "--target", "y"], "there is none; check the path"),
    "a target of a named set": (["attack", "blobs2", "--target", "y"], "--target belongs to a CSV file"),
    "quantiles the wrong way round": (
        ["attack", "blobs2", *FEW, "--feasible", "box:0.9..0.1"],
        "quantiles must satisfy",
    ),
    "quantiles in words": (["attack", "blobs2", *FEW, "--feasible", "box:low"], "box takes two quantiles"),
    "a column that is not there": (["attack", "blobs2", *FEW, "--feasible", "box+fixed:7"], "blobs2 has no column '7'"),
    "a column with two sets": (
        ["attack", "spambase", *FEW, "--feasible", "box+0-3=binary+2=box"],
        "two sets: give it one",
    ),
    "an unknown rule": (["attack", "blobs2", *FEW, "--feasible", "box+l1:3"], "takes the rules COLUMNS=SET"),
    "a radius in words": (["attack", "blobs2", *FEW, "--feasible", "box+l2:far"], "l2 takes a radius"),
    "a ball of bits": (["attack", "spambase", *FEW, "--feasible", "binary+l2:1"], "a ball needs a convex set"),
    "classes for a regression": (["attack", "diabetes", *FEW, "--learner", "logistic"], "use ridge or mlp"),
    "responses for classes": (["attack", "blobs2", *FEW, "--learner", "ridge"], "predicts responses"),
    "zero-one error of responses": (["attack", "diabetes", *FEW, "--objective", "zero-one"], "takes squared"),
    # Found out once work has begun, which is why the folder must go again.
    "diverging victim": (
        ["attack", "blobs2", *FEW, "--step-size", "1e6"],
        "training diverged: the loss went from 0.693 to",
    ),
    "momentum under the paper's reversal": (
        ["attack", "blobs2", *FEW, "--adjoint", "back-gradient", "--momentum", "0.5"],
        "cannot undo momentum: use Reversible() or Checkpointed()",
    ),
    "no momentum under exact reversal": (
        ["attack", "blobs2", *FEW, "--adjoint", "reversible", "--momentum", "0"],
        "Reversible needs momentum in (0, 1)",
    ),
}


CASES = [pytest.param(*case, id=name) for name, case in BAD.items()]


@pytest.mark.parametrize(("arguments", "sentence"), CASES)
def test_bad_input_is_answered_in_one_line_and_leaves_nothing_behind(
    arguments, sentence, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BACKGRAD_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    monkeypatch.setattr("backgrad.evaluation.security_curve.craft_on_split", lambda *_, **__: pytest.fail("work began"))
    code, out, err = run(capsys, *arguments, *(["--out", "deep/er/out"] if arguments[0] != "poison" else []))
    assert code == 2
    assert sentence in err
    assert err.startswith("backgrad: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["file", "file/out", "file/deep/out"])
def test_an_out_that_cannot_be_a_folder_is_refused_before_the_work(below, capsys, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("precious")
    monkeypatch.setattr("backgrad.cli.run.evaluate_split", lambda *_, **__: pytest.fail("work began"))
    code, out, err = run(capsys, "attack", "blobs2", *TINY, "--out", tmp_path / below)
    assert code == 2
    assert "--out must be a folder that can be written" in err
    assert err.startswith("backgrad: ")
    assert err.count("\n") == 1
    assert out == ""
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "precious"


def test_bad_input_leaves_the_results_of_an_earlier_run_alone(capsys, tmp_path):
    for name in ("attack.json", "points.npz", "notes.txt"):
        (tmp_path / name).write_text(name)
    code, _, _ = run(capsys, "attack", "blobs2", *TINY, "--step-size", "1e6", "--out", tmp_path)
    assert code == 2
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {
        name: name for name in ("attack.json", "points.npz", "notes.txt")
    }


def test_no_arguments_print_the_help(capsys):
    code, out, err = run(capsys)
    assert code == 2
    assert "Usage: " in out + err
    assert "attack" in out + err


REMEDIES = {
    "attack": (["attack"], "set --task regression for real responses"),
    "curve": (["curve"], "set --task regression for real responses"),
    "defend": (["defend"], "take another, or cut its range into classes"),
    "clean": (["clean", "--defence", "sphere"], "take another, or cut its range into classes"),
}


@pytest.mark.parametrize(("verb", "remedy"), REMEDIES.values(), ids=REMEDIES.keys())
def test_every_verb_has_its_own_remedy_for_real_responses(verb, remedy, capsys, tmp_path):
    table = tmp_path / "houses.csv"
    table.write_text("size,price\n" + "".join(f"{i},{i}.5\n" for i in range(40)), encoding="utf-8")
    name, *options = verb
    code, _, err = run(capsys, name, table, "--target", "price", *options, "--out", tmp_path / "out")
    assert code == 2
    assert f"some of them fractions; {remedy}." in err
    table.write_text(table.read_text(encoding="utf-8") + "7,cheap\n", encoding="utf-8")
    if "--task" in remedy:
        _, _, err = run(capsys, name, table, "--target", "price", "--task", "regression", "--out", tmp_path / "out")
        assert "choose another target, or --task classification." in err


def test_the_help_of_defend_does_not_speak_of_regressions(capsys):
    _, out, _ = run(capsys, "defend", "--help")
    assert "--task" not in out
    assert "responses" not in out
    assert "--task" in run(capsys, "attack", "--help")[1]


def test_the_help_of_transfer_lists_the_knowledge_that_it_takes(capsys):
    _, out, _ = run(capsys, "transfer", "--help")
    assert "surrogate-data" in out
    assert "surrogate-learner" not in out
