"""The package as its users meet it: names, docstrings, imports, the README and the changelog."""

import inspect
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import backgrad as bg
from backgrad.evaluation.words import make_victims
from tests.problems import mostly_slow

ROOT = Path(__file__).parents[1]

# Adding or removing a name here is a change of the public interface: note it in the changelog.
NAMES = [
    "Adaline",
    "Adjoint",
    "Anomaly",
    "AssignedLabels",
    "Attack",
    "AttackHealth",
    "AttackResult",
    "AuditResult",
    "BackGradient",
    "Ball",
    "Binary",
    "Box",
    "BreakingPoint",
    "CNN",
    "CertificateDisplay",
    "Checkpointed",
    "ChosenLabels",
    "ChosenResponses",
    "Columns",
    "Converged",
    "CoordinateAttack",
    "CostEstimate",
    "Dataset",
    "DeepPartitionAggregation",
    "DefenceTable",
    "DefenceTableDisplay",
    "Descent",
    "ErrorGeneric",
    "ErrorSpecific",
    "Evasion",
    "FeasibleSet",
    "FlippedLabels",
    "Goal",
    "GreedyAttack",
    "HostRows",
    "Image",
    "Immutable",
    "Implicit",
    "Influence",
    "Integer",
    "IsolationForestSanitiser",
    "JointAttack",
    "KnnDistance",
    "Knowledge",
    "LabelFlip",
    "LabelRule",
    "LabelSanitisation",
    "Learner",
    "LearnerClassifier",
    "LearnerLoss",
    "LearnerRegressor",
    "Linked",
    "LofSanitiser",
    "LogLoss",
    "LogisticRegression",
    "LossTrim",
    "MLP",
    "MaxAbsScaled",
    "Member",
    "MinMaxScaled",
    "OneHot",
    "OuterLoss",
    "PerfectKnowledge",
    "Plan",
    "PoisonGalleryDisplay",
    "RONI",
    "RandomPoints",
    "RegressionMLP",
    "Rescaled",
    "Reversible",
    "Ridge",
    "RobustL2",
    "Rows",
    "SampleTargets",
    "Samples",
    "Sanitiser",
    "SecurityCurve",
    "SecurityCurveDisplay",
    "Selected",
    "Slab",
    "SmoothSVM",
    "SmoothZeroOne",
    "SmoothedLabelsClassifier",
    "SoftmaxRegression",
    "SpectralSignatures",
    "Sphere",
    "SquaredLoss",
    "Standardised",
    "Status",
    "SubpopulationAttack",
    "Surrogate",
    "SurrogateData",
    "Surrogates",
    "Table",
    "ThreatModel",
    "Trained",
    "TransferMatrix",
    "TransferMatrixDisplay",
    "Trim",
    "TrimClassifier",
    "TrimRegressor",
    "VarianceSelected",
    "__version__",
    "audit",
    "bagged",
    "breaking_point",
    "choose_l2",
    "defence_table",
    "encode",
    "estimate_cost",
    "expected_failed_checks",
    "host_rows",
    "infer_schema",
    "list_datasets",
    "load",
    "load_table",
    "one_hot",
    "read_table",
    "samples",
    "security_curve",
    "split_rows",
    "surrogate_for",
    "train",
    "transfer_matrix",
]
OBJECTS = [name for name in NAMES if name != "__version__"]


def test_the_public_names_are_these_and_no_others():
    assert sorted(bg.__all__) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_can_be_imported_and_is_offered_to_completion(name):
    assert getattr(bg, name) is not None
    assert name in dir(bg)


def test_the_lazy_names_are_those_that_editors_and_type_checkers_see():
    source = inspect.getsource(bg)
    block = source.split("if TYPE_CHECKING:")[1].split("\n\n")[0]
    seen = re.findall(r"^    from \S+ import (.+)$", block, re.MULTILINE)
    assert sorted(name for line in seen for name in line.split(", ")) == OBJECTS


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'backgrad' has no attribute 'Attak'"):
        bg.Attak  # noqa: B018


def test_importing_the_package_imports_neither_jax_nor_scikit_learn():
    heavy = {"jax", "sklearn", "numpy", "scipy", "pandas", "matplotlib", "rich", "typer", "pydantic"}
    code = f"import sys, backgrad; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def documented(thing):
    """Tell whether a class or function has a docstring of its own, not one that a decorator made up."""
    text = (thing.__doc__ or "").strip()
    return bool(text) and not text.startswith(f"{thing.__name__}(")


@pytest.mark.parametrize("name", OBJECTS)
def test_every_public_class_and_function_has_a_docstring_and_so_have_its_methods(name):
    thing = getattr(bg, name)
    assert documented(thing)
    if inspect.isclass(thing):
        for attribute, member in vars(thing).items():
            method = member.fget if isinstance(member, property) else getattr(member, "__wrapped__", member)
            if not attribute.startswith("_") and inspect.isfunction(method):
                assert documented(method), f"{name}.{attribute}"


def snippets(page="README.md"):
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)


PAGES = [page.relative_to(ROOT).as_posix() for page in sorted((ROOT / "docs").rglob("*.md"))]


def numbers_apart(text):
    """Return a text with its numbers taken out, and these; runs of blanks, which align numbers, are one."""
    number = r"-?\d+(?:\.\d*)?"
    return re.sub(r"\s+", " ", re.sub(rf"\s*{number}", " #", text)).strip(), [
        float(n) for n in re.findall(number, text)
    ]


PYTHON = [page for page in PAGES if snippets(page)]


# An audit takes too long for the default suite; tests/cli/test_audit.py has a shorter one.
@pytest.mark.parametrize("page", mostly_slow(PYTHON, *(page for page in PYTHON if page != "docs/audit.md")))
def test_the_python_of_the_documentation_runs_as_it_stands_and_prints_what_is_shown(
    page, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    names, text = {}, (ROOT / page).read_text(encoding="utf-8")
    for code, shown in re.findall(r"```python\n(.*?)```\n(?:\n((?:    [^\n]*\n)+))?", text, re.DOTALL):
        exec(code, names)  # later ones go on from where earlier ones ended
        printed = capsys.readouterr().out
        if not shown:
            continue
        (words, numbers), (expected, near) = numbers_apart(printed), numbers_apart(shown)
        assert words == expected
        # An attack's outcome moves a little between processors and versions.
        assert numbers == pytest.approx(near, rel=0.2, abs=0.02)


def test_the_reference_has_every_public_name_once():
    texts = [(ROOT / page).read_text(encoding="utf-8") for page in PAGES if page.startswith("docs/reference/")]
    listed = re.findall(r"^\.\. auto(?:class|function):: (\w+)$", "\n".join(texts), re.MULTILINE)
    assert sorted(listed) == OBJECTS


@pytest.mark.parametrize("number", range(len(snippets())))
def test_the_readme_s_python_runs_as_it_stands(number, capsys):
    names = {}
    exec(snippets()[number], names)
    assert capsys.readouterr().out.startswith("worked the objective rose from")
    assert names["result"].points.shape == (20, 54)
    # One harm a training row, and not the same for all.
    assert names["harm"].shape == (100,)
    assert float(names["harm"].std()) > 0


def test_the_readme_has_python_to_run():
    assert len(snippets()) == 1


def shown_commands(program, page="README.md"):
    """Return the arguments of every command of a program in a page's shell snippets."""
    text = (ROOT / page).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL)).splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [line[1:] for line in words if line[:1] == [program]]


def test_the_readme_s_make_targets_exist():
    targets = {name for line in shown_commands("make") for name in line}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert {"demo", "test"} <= targets <= set(re.findall(r"^(\w+):", makefile, re.MULTILINE))


def test_the_demo_does_what_the_readme_says_without_make():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (demo,) = re.findall(r"^demo:.*\n\t\$\(BIN\)/backgrad (.*?) --out demo\b", makefile, re.MULTILINE)
    assert shlex.split(demo) in shown_commands("backgrad")


# Those of the documentation whose verbs work on data that come with the package.
BUNDLED = [
    arguments
    for page in PAGES
    for arguments in shown_commands("backgrad", page)
    if arguments[0] in ("attack", "audit", "curve", "defend")
    and arguments[1] in ("mnist-1-7", "spambase", "spambase57")
]


@pytest.mark.parametrize("arguments", [*shown_commands("backgrad"), *BUNDLED], ids=" ".join)
def test_commands_that_are_shown_name_options_and_data_that_exist(arguments, monkeypatch):
    from backgrad.cli import main
    from backgrad.cli.run_audit import open_audit
    from backgrad.cli.session import open_session

    asked, verb = [], arguments[0]
    work = "estimate" if "--estimate" in arguments else verb
    module = "run" if work == "attack" else f"run_{work}"
    monkeypatch.setattr(f"backgrad.cli.{module}.run_{work}", lambda given, **own: asked.append((given, own)) or 0)
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 0
    ((given, own),) = asked
    if verb == "audit":
        assert open_audit(given).budgets
        return
    session = open_session(given, points=own.get("points") or 20)
    make_victims(own.get("victims"), session.data.dataset)


def test_the_changelog_has_an_entry_for_this_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## {re.escape(bg.__version__)}\b", changelog, re.MULTILINE)
    for name in re.findall(r"`([A-Z]\w+)`", changelog):
        assert name in NAMES, f"the changelog speaks of {name}, which is not public"
