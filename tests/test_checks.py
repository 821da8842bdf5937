"""Settings and arguments that cannot be used end in one sentence; NumPy's numbers are taken where Python's are."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

import backgrad as bg
from backgrad.checks import check_count
from backgrad.errors import InputError


def test_numpy_whole_numbers_are_kept_as_plain_ones():
    learner = bg.MLP(np.int64(4), n_classes=np.int32(3), hidden=(np.int64(5),))
    schedule = bg.Descent(steps=np.int64(7), batch_size=np.uint8(2))
    kept = [learner.n_features, learner.n_classes, *learner.hidden, schedule.steps, schedule.batch_size]
    assert kept == [4, 3, 5, 7, 2]
    assert {type(value) for value in kept} == {int}
    assert learner == bg.MLP(4, n_classes=3, hidden=(5,))
    assert bg.MLP(np.array(4)) == bg.MLP(4)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: bg.LogisticRegression(np.int64(0)), "n_features must be a positive whole number; got 0"),
        (lambda: bg.LogisticRegression(np.float64(3.0)), "n_features must be a positive whole number; got 3.0"),
        (lambda: check_count(n_features=np.bool_(True)), "n_features must be a positive whole number"),
        (lambda: bg.LogisticRegression(3, l2=np.float32(-1)), "l2 must be a finite number, 0 or more; got -1.0"),
        (lambda: bg.Descent(steps=3, step_size=np.float32("nan")), "step_size must be a positive finite number"),
        (lambda: bg.Descent(steps=3, momentum=np.float32(1)), r"momentum must lie in \[0, 1\); got 1.0"),
        (lambda: check_count(least=0, budget=np.int64(-1)), "budget must be a whole number, 0 or more"),
        (lambda: bg.LogisticRegression(3, l2=np.array(-1.0)), "l2 must be a finite number, 0 or more; got -1.0"),
        (lambda: bg.LogisticRegression(3, l2=np.array([0.1])), r"0 or more; got array\(\[0.1\]\)"),
        (lambda: bg.LogisticRegression(np.array(0)), "n_features must be a positive whole number; got 0"),
        (lambda: bg.Descent(steps=3, momentum=np.array(2.0)), r"momentum must lie in \[0, 1\); got 2.0"),
        (lambda: bg.Descent(steps=3, step_size=np.bool_(True)), "step_size must be a positive finite number; got "),
        (lambda: bg.Descent(steps=3, step_size=True), "step_size must be a positive finite number; got True"),
        (lambda: bg.Descent(steps=3, step_size="0.1"), "step_size must be a positive finite number; got '0.1'"),
        (lambda: bg.MLP(3, l2=None), "l2 must be a finite number, 0 or more; got None"),
    ],
)
def test_numpy_numbers_out_of_their_range_are_refused(make, said):
    with pytest.raises(InputError, match=said):
        make()


# --- arguments of another kind --------------------------------------------------------------------

# Annotations are checked in tests, and would refuse most of these calls first; so they are made in a process of their
# own, as a user's are. Each is an expression, beside what its error says.
_GIVEN = """
import functools, json, sys
import jax, jax.numpy as jnp, numpy as np
from backgrad.adjoints.check import check_gradient
from sklearn.linear_model import LogisticRegression as Linear
import backgrad as bg
from backgrad.datasets.raw import RawTable

y = np.arange(20) % 2
x = np.random.default_rng(0).normal(size=(20, 3)) + y[:, None]
rows, learner, schedule = bg.samples(x, y, 2), bg.LogisticRegression(3), bg.Descent(2)
weight, threat = learner.init(None), bg.ThreatModel(2, feasible=bg.Box(-9, 9))
raw = RawTable("mine.csv", "npz", ("a", "t"), 20, np.arange(20), arrays=(x[:, 0], y))


def train(learner=learner, rows=rows, schedule=schedule, **settings):
    return bg.train(learner, rows, schedule=schedule, **settings)


def craft(attack=bg.JointAttack(iterations=1), learner=learner, rows=rows, **settings):
    return attack.craft(learner, rows, rows, **{"schedule": schedule, "threat": threat, "seed": 0, **settings})


def clean(sanitiser, y=y):
    return sanitiser.fit_resample(x, y)


def fit(learner, **settings):
    return bg.LearnerClassifier(learner, **settings).fit(x, y)


def choose(**settings):
    return bg.choose_l2(learner, rows, rows, schedule=schedule, threat=threat, **settings)


def plan():
    return bg.Plan(learner, schedule, bg.JointAttack(iterations=1), threat)


def measure(verb, **settings):
    split = bg.Rows(np.arange(8), np.arange(8, 14), np.arange(14, 20))
    settings = settings if "victims" in settings else {"victim": Linear(), **settings}
    return verb(plan(), bg.Table(x, y, 2), [split], **{"seed": 0, **settings})


def transfer(**settings):
    surrogates = {"a": bg.Member(learner, schedule)}
    return measure(bg.transfer_matrix, surrogates=surrogates, victims={"b": Linear()}, **settings)


def audit(**settings):
    return bg.audit(Linear(), np.tile(x, (9, 1)), np.tile(y, 9), **settings)


def told(call):
    try:
        return "nothing", str(eval(call))
    except Exception as error:
        return [kind.__name__ for kind in type(error).__mro__], str(error)


print(json.dumps({call: told(call) for call in json.load(sys.stdin)}))
"""

_REFUSED = {
    "train(schedule=None)": "schedule must be Descent(...) or Converged(...); got None.",
    "train(schedule=100)": "schedule must be Descent(...) or Converged(...); got 100.",
    "train(schedule=bg.Descent)": "got <class 'backgrad.schedules.Descent'>: call it, as in Descent(...).",
    "train(adjoint='implicit')": "adjoint must be Checkpointed(), BackGradient(), Reversible(), Implicit() or None",
    "train(adjoint=bg.Implicit)": "call it, as in Implicit(...).",
    "train(params=np.zeros(3))": "init draws, LinearParams(weight=(3,), bias=()); got (3,): take those of train(...)",
    "train(params=weight._replace(weight=np.zeros((3, 1))))": "got LinearParams(weight=(3, 1), bias=())",
    "train(bg.MLP(3), params=bg.MLP(3, hidden=(5,)).init(jax.random.key(0)))": "params must have the shapes",
    "train(bg.Standardised(learner), params=np.zeros(3))": "params must have the shapes",
    "train(rows=(x, y))": "rows must be made by backgrad.samples(x, labels, n_classes) or host_rows; got array(",
    "train(rows=None)": "rows must be made by backgrad.samples(x, labels, n_classes) or host_rows; got None.",
    "train('logistic')": "learner must have init, scores and loss, as LogisticRegression(n_features) has; got 'log",
    "learner.scores(weight, x[0])": "this LogisticRegression scores x of shape (n, 3); got (3,).",
    "learner.scores(weight, x[:, :2])": "this LogisticRegression scores x of shape (n, 3); got (20, 2).",
    "learner.scores(train(), x)": "params must be those of LogisticRegression for 3 features, as train(...).params",
    "bg.MLP(3).scores(weight, x)": "params must be those of MLP for 3 features",
    "learner.scores(bg.SoftmaxRegression(3, n_classes=4).init(None), x)": "those of LogisticRegression for 2 outputs",
    "bg.SoftmaxRegression(3, n_classes=4).scores(weight, x)": "those of SoftmaxRegression for 4 outputs",
    "bg.MLP(3).scores(bg.MLP(3, n_classes=4).init(jax.random.key(0)), x)": "those of MLP for 2 outputs",
    "bg.Ridge(3).scores(bg.Ridge(3, n_responses=2).init(None), x)": "those of Ridge for 1 output",
    "bg.Descent(3, key=0)": "key must be a JAX key, such as jax.random.key(0); got 0.",
    "bg.Converged(key=0)": "key must be a JAX key, such as jax.random.key(0); got 0.",
    "bg.Converged(tolerance=None)": "tolerance must be a positive finite number; got None.",
    "bg.Descent(3, optimiser='adam')": "optimiser must be an optax transformation, such as optax.adam(0.01); got",
    "bg.Descent(3, gram='no')": "gram must be True, False or None; got 'no'.",
    "bg.Descent(3, step_size=jnp.ones(3))": "step_size must be a positive finite number; got Array([1., 1., 1.]",
    "bg.LogisticRegression(3, l2=jnp.ones(3))": "l2 must be a finite number, 0 or more; got Array([1., 1., 1.]",
    "bg.Checkpointed(memory_limit='1GB')": "memory_limit must be a positive finite number; got '1GB'.",
    "bg.Checkpointed(segments='yes')": "segments must be True, False or None; got 'yes'.",
    "bg.Implicit(damping=float('nan'))": "damping must be a finite number, 0 or more; got nan.",
    "bg.Implicit(residual='a')": "residual must be a positive finite number; got 'a'.",
    "bg.Implicit(max_steps=1.5)": "max_steps must be a positive whole number; got 1.5.",
    "bg.Implicit(throw='no')": "throw must be True or False; got 'no'.",
    "bg.Reversible(fraction_bits=44.5)": "fraction_bits must be a whole number from 8 to 56; got 44.5.",
    "bg.Reversible(min_momentum='a')": "min_momentum must lie in (0, 1); got 'a'.",
    "bg.MinMaxScaled(learner, 3)": "feature_range must be (low, high) with low < high, both finite; got 3.",
    "bg.MinMaxScaled(learner, (0, float('inf')))": "low < high, both finite; got (0, inf).",
    "check_gradient(jnp.sum, jnp.ones(3), key=None, directions=0)": "directions must be a positive whole number; got 0",
    "bg.ErrorGeneric(classes=1)": "or a tuple of different whole numbers, such as (1,) or (0, 3); got 1.",
    "bg.ErrorGeneric(classes=[1])": "got [1].",
    "bg.ErrorGeneric(classes=())": "got ().",
    "bg.ErrorGeneric(classes=(1, 1, 2))": "got (1, 1, 2).",
    "bg.ErrorGeneric('log')": "outer_loss must be an outer loss, such as LogLoss(); got 'log'.",
    "bg.ErrorSpecific({0: 1}, outer_loss=bg.LogLoss)": "call it, as in LogLoss(...).",
    "bg.ErrorSpecific(mapping=3)": "such as {8: 3}; got 3.",
    "bg.ErrorSpecific('8:3')": "such as {8: 3}; got '8:3'.",
    "bg.ErrorSpecific({'8': '3'})": "by their numbers, such as {8: 3}; got {'8': '3'}.",
    "bg.ErrorSpecific({0: 1}, hold_others='no')": "hold_others must be True or False; got 'no'.",
    "bg.ThreatModel(2, goal='generic')": "goal must be a goal, such as ErrorGeneric(); got 'generic'.",
    "bg.ThreatModel(2, feasible=(0, 1))": "feasible must be a feasible set, such as Box(0, 1); got (0, 1).",
    "bg.ThreatModel(2, knowledge=bg.PerfectKnowledge)": "call it, as in PerfectKnowledge(...).",
    "bg.ThreatModel(2, labels='flipped')": "labels must be a label rule, such as FlippedLabels(); got 'flipped'.",
    "bg.ThreatModel(2, evasion=bg.Sphere())": "evasion must be None, or what a defence's method evasion(x, y) gives",
    "bg.Surrogates((learner, schedule))": "give a tuple of (learner, schedule) pairs; got (LogisticRegression(",
    "bg.Surrogates(((learner, schedule),), caution='a')": "caution must lie in [0, 1]; got 'a'.",
    "craft(schedule=None)": "schedule must be Descent(...) or Converged(...); got None.",
    "craft(adjoint='implicit')": "adjoint must be Checkpointed(), BackGradient(), Reversible(), Implicit() or None",
    "craft(threat=5)": "threat must be a threat model, such as ThreatModel(budget=10); got 5.",
    "craft(seed=None)": "seed must be a whole number from 0 to 2**32 - 1; got None.",
    "craft(seed=-1)": "seed must be a whole number from 0 to 2**32 - 1; got -1.",
    # JAX without float64 would cut it to 0.
    "craft(seed=2**32)": "seed must be a whole number from 0 to 2**32 - 1; got 4294967296.",
    "craft(start=x[:2])": "start must be None, or features and labels of the points, (x, labels); got array(",
    "craft(rows=(x, y))": "rows must be made by backgrad.samples",
    "craft(checkpoint='folder')": "checkpoint must be None, or an object with load and save; got 'folder'.",
    "bg.JointAttack(redraw='no')": "redraw must be True or False; got 'no'.",
    "bg.GreedyAttack(epsilon=None)": "epsilon must be a finite number, 0 or more; got None.",
    "bg.samples(x, y[:, None], 2)": "labels must have shape (n,), one whole number a row; got (20, 1): ravel labels of",
    "bg.samples(x, np.eye(2)[y], 2)": "and take numpy.argmax(labels, axis=1) of one-hot ones.",
    "bg.samples(x, y[:-1], 2)": "and weight (n,), with one n; got (20, 3), (19,) and (19,).",
    "bg.samples(x[:, 0], y, 2)": "x must have shape (n, d), and labels and weight (n,), with one n; got (20,), (20,)",
    "bg.samples(x, y, 2, weight=1.0)": "got (20, 3), (20,) and ().",
    "bg.samples(x, y, 2, weight='balanced')": "weight must be a dense array of numbers; got 'balanced'.",
    "bg.samples(np.full((20, 3), 'a'), y, 2)": "x must be a dense array of numbers; got array([['a'",
    "bg.samples(x, y, None)": "n_classes must be a positive whole number; got None.",
    "bg.one_hot(1, 3)": "labels must have shape (n,), one whole number a row; got ()",
    "bg.host_rows(x, y[:, None], 2)": "labels must have shape (n,), one whole number a row; got (20, 1)",
    "bg.Box('a', 1)": "lower must be a number, or an array with one a column; got 'a'.",
    "bg.Box([0, 0, 0], 1)": "lower must be a number, or an array with one a column; got [0, 0, 0].",
    "bg.OneHot(3)": "groups must be a tuple of numbers of columns, such as (2, 3); got 3.",
    "bg.Columns(3)": "parts must be pairs of columns and a set, such as ((0, 1), Box(0, 1)); got 3.",
    "bg.Columns((((0, 1, 2), bg.Box),))": "parts must be pairs of columns and a set",
    "bg.Columns({(0, 1): bg.Box()})": "parts must be pairs of columns and a set",
    "bg.Columns(((('a', 'b'), bg.Box()),))": "columns must be given by their numbers, such as (0, 3); got ('a', 'b').",
    "bg.Columns(((0, bg.Box()),))": "columns must be given by their numbers, such as (0, 3); got 0.",
    "bg.Columns((((0, 1.5), bg.Box()),))": "columns must be given by their numbers, such as (0, 3); got (0, 1.5).",
    "bg.Immutable(bg.Box(), 'age')": "columns must be given by their numbers, such as (0, 3); got 'age'.",
    "bg.Immutable((0, 1), bg.Box())": "columns must be given by their numbers, such as (0, 3); got Box().",
    "bg.Immutable((0, 1), (2, 3))": "base must be a feasible set, such as Box(0, 1); got (0, 1).",
    "bg.Ball(None, 1.0)": "base must be a feasible set, such as Box(0, 1); got None.",
    "bg.ChosenResponses('a', 1)": "responses need a finite range; got 'a' to 1.",
    "bg.Plan(learner, None, bg.JointAttack(), threat)": "schedule must be Descent(...) or Converged(...); got None.",
    "bg.Plan(learner, schedule, bg.JointAttack, threat)": "call it, as in JointAttack(...).",
    "bg.read_table(x)": "path must be the path of a file; got array(",
    "bg.infer_schema('mine.csv', target='t')": "raw must be what read_table(path) returns; got 'mine.csv'.",
    "bg.encode(x, None)": "raw must be what read_table(path) returns; got array(",
    "bg.encode(raw, None)": "schema must be what infer_schema(raw, target=...) returns; got None.",
    "audit(seed=None)": "seed must be a whole number from 0 to",
    "audit(out=3)": "out must be the path of a folder, or None; got 3.",
    "audit(progress=None)": "progress must be a function, such as print; got None: leave it out for none.",
    "craft(progress=None)": "progress must be a function, such as print; got None: leave it out for none.",
    "craft(progress=True)": "progress must be a function, such as print; got True",
    "choose(progress=None)": "progress must be a function",
    "measure(bg.security_curve, progress=None)": "progress must be a function",
    "measure(bg.security_curve, scorers=['f1'])": "scorers must be scorers by name, such as {'F1': 'f1_macro'}; got",
    "measure(bg.security_curve, fractions=('5%',))": "a fraction of poisoned rows must lie in [0, 1); got '5%'.",
    "measure(bg.security_curve, seed='a')": "seed must be a whole number from 0 to 2**32 - 1; got 'a'.",
    "transfer(progress=None)": "progress must be a function",
    "transfer(seed=0.5)": "seed must be a whole number from 0 to 2**32 - 1; got 0.5.",
    "measure(bg.breaking_point, limit=0.1, progress=None)": "progress must be a function",
    "measure(bg.breaking_point, limit=0.1, seed=-1)": "seed must be a whole number",
    "measure(bg.defence_table, defences={'s': bg.Sphere()}, budgets=[1], progress=None)": "progress must be a function",
    "measure(bg.defence_table, defences={'s': bg.Sphere()}, budgets=[1], seed=None)": "seed must be a whole number",
    "choose(l2_range=0.1)": "l2_range must be (least, largest), such as (1e-4, 1.0); got 0.1.",
    "choose(attack='joint')": "attack must be an attack, such as JointAttack(); got 'joint'.",
    "choose(loss='log')": "loss must be an outer loss, such as LogLoss(); got 'log'.",
    "clean(bg.LossTrim(fraction='a'))": "fraction must lie in [0, 1); got 'a'.",
    "clean(bg.Sphere(fraction=None))": "fraction must lie in [0, 1); got None.",
    "clean(bg.Slab(fraction=float('nan')))": "fraction must lie in [0, 1); got nan.",
    "clean(bg.KnnDistance(fraction=10))": "fraction must lie in [0, 1); got 10.",
    "clean(bg.Anomaly(fraction=np.array(-0.1)))": "fraction must lie in [0, 1); got -0.1.",
    "clean(bg.Sphere(sampling_strategy=None))": "sampling_strategy must be 'all' or a list of the classes to clean",
    "clean(bg.LabelSanitisation(eta='a'))": "eta must lie in [0.5, 1]; got 'a'.",
    "clean(bg.LabelSanitisation(relabel='no'))": "relabel must be True or False; got 'no'.",
    "clean(bg.IsolationForestSanitiser(max_samples=5.5))": "max_samples must be 'auto', a positive whole number, or a",
    "clean(bg.Trim(estimator=Linear))": "estimator must be a scikit-learn estimator that can be cloned, such as Log",
    "clean(bg.LossTrim(estimator='svm'))": "such as LogisticRegression(); got 'svm'.",
    "clean(bg.LossTrim(random_state='a'))": "random_state must be a whole number from 0 to 2**32 - 1, or None; got",
    "clean(bg.IsolationForestSanitiser(random_state=-1))": "2**32 - 1, or None; got -1.",
    "clean(bg.RONI(trusted=(x, y), random_state=0.5))": "2**32 - 1, or None; got 0.5.",
    "bg.TrimClassifier(random_state='a').fit(x, y)": "2**32 - 1, or None; got 'a'.",
    "bg.bagged(Linear(), random_state='a')": "2**32 - 1, or None; got 'a'.",
    "clean(bg.Sphere(), y=0 * y)": "a defence needs rows of at least two classes; all are of class 0.",
    "clean(bg.Trim(), y=np.full(20, 'spam'))": "a defence needs rows of at least two classes; all are of class 'spam'.",
    "fit(bg.Standardised)": "Standardised needs learner besides: give a function that makes a whole learner, such as",
    "bg.Standardised(bg.MLP)": "learner must be one that was made, such as MLP(n_features); got the class.",
    "fit(bg.Selected)": "Selected needs learner and n_selected besides",
    "fit(functools.partial(bg.MLP, width=5))": "learner must be a class or factory of learners; got functools.partial(",
    "fit(bg.MLP, schedule='adam')": "schedule must be Descent(...), Converged(...) or None for the default; got",
}


@pytest.fixture(scope="module")
def told():
    done = subprocess.run(
        [sys.executable, "-c", _GIVEN], input=json.dumps([*_REFUSED]), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("call", _REFUSED)
def test_arguments_of_another_kind_are_refused_in_a_sentence(call, told):
    kinds, sentence = told[call]
    assert "InputError" in kinds, (kinds, sentence)
    assert _REFUSED[call] in sentence
    assert re.fullmatch(r"[^\n]{20,400}\.", sentence)
