"""Studies in YAML: a grid over the settings of attacks.

```yaml
name: strategies
datasets: [spambase, {path: mails.csv, target: spam}]
learners: [logistic, mlp]
points: [10, 20]            # or fractions: [0.05, 0.1]
strategies: [joint, greedy]
feasible: binary
train: 100
validation: 400
splits: 10
seed: 0
```

Every combination of the lists, on every split, is a run. A list of one may be written without brackets, and what is
left out has the default of `backgrad attack`. Unknown keys, and words that no option has, are errors; all of them
are reported together.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    ValidationError,
)
from pydantic_core import PydanticCustomError

from ..errors import InputError
from ..plain_yaml import read_yaml
from ..spelling import nearest
from .plan import Run, Study
from .tasks import TASKS, file_digest

#: The most runs that one file may ask for.
MOST_RUNS = 100_000

# --- kinds of values ------------------------------------------------------------------------------

T = TypeVar("T")


def _problem(text: str) -> PydanticCustomError:
    """Return an error with a text of ours, in which braces stand for themselves."""
    return PydanticCustomError("backgrad", "{text}", {"text": text})  # pyright: ignore[reportArgumentType]


def _listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    for number, value in enumerate(values):
        if value in values[:number]:
            raise _problem(f"has {value!r} twice: name it once")
    return values


def _number(value: Any) -> Any:
    """Take 1e-3 as a number, which is text to YAML 1.1, and refuse true, which is 1 to Python."""
    try:
        if not isinstance(value, bool) and math.isfinite(float(value)):
            return float(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise _problem("expected a finite number")


def _text(value: Any) -> Any:
    """Point to two traps of YAML 1.1: 8:3 is a number to it, and no is false."""
    if isinstance(value, bool | int | float):
        raise _problem("expected text, and YAML reads this as a number or a truth value: put it in quotes")
    return value


def _learner(value: str) -> str:
    from ..learners.catalogue import LEARNER_NAMES

    if value not in LEARNER_NAMES:
        raise _problem(f"expected one of {', '.join(map(repr, LEARNER_NAMES))}{_near(value, LEARNER_NAMES)}")
    return value


def _dataset(value: Any) -> Any:
    if isinstance(value, str):
        return {"path": value}
    if not isinstance(value, dict):
        raise _problem("expected the name of a data set, or path, target and task of a table")
    return value


def _near(word: Any, words: Iterable[str]) -> str:
    """Return a hint at the word that was probably meant."""
    found = nearest(str(word), words)
    return f" (did you mean {found[0]!r}?)" if found else ""


Text = Annotated[StrictStr, BeforeValidator(_text)]
Number = Annotated[float, BeforeValidator(_number)]
Count = Annotated[StrictInt, Field(ge=1)]
Axis = Annotated[tuple[T, ...], BeforeValidator(_listed), Field(min_length=1), AfterValidator(_distinct)]


class DataItem(BaseModel):
    """A data set.

    Args:
        path: its name, or the path of a CSV file, from the folder in which the command is run.
        target: the column of a CSV file that holds labels or responses.
        task: what that column holds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Text
    target: Text | None = None
    task: Literal["classification", "regression"] | None = None


class StudyFile(BaseModel):
    """A study's file. Keys in the plural are lists of words of `backgrad attack`; its other options keep their names.

    Args:
        name: of the study, and of its folder.
        description: for people.
        datasets: names, or CSV files.
        train: training rows.
        validation: the attacker's rows; all others test.
        splits: random splits of each combination.
        seed: of everything random.
        points: poisoning points.
        fractions: of poisoned rows among all training rows, in place of `points`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[Text, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    description: Text = ""
    datasets: Axis[Annotated[DataItem, BeforeValidator(_dataset)]]
    train: Count = 100
    validation: Count = 400
    splits: Count = 10
    seed: Annotated[StrictInt, Field(ge=0, lt=2**32)] = 0

    points: Axis[Annotated[StrictInt, Field(ge=0)]] | None = None
    fractions: Axis[Annotated[Number, Field(ge=0, lt=1)]] | None = None

    learners: Axis[Annotated[Text, AfterValidator(_learner)]] | None = None
    step_size: Axis[Number] | None = None
    steps: Axis[Count] | None = None
    momentum: Axis[Number] | None = None
    batch_size: Axis[Count] | None = None
    l2: Axis[Number] | None = None

    strategies: Axis[Literal["joint", "greedy", "coordinate", "subpopulation"]] | None = None
    objectives: Axis[Literal["zero-one", "log-loss", "squared", "learner-loss"]] | None = None
    goals: Axis[Text] | None = None
    hold_others: Axis[StrictBool] | None = None
    feasible: Axis[Text] | None = None
    labels: Axis[Literal["flipped", "chosen"]] | None = None
    knowledge: Axis[Literal["perfect", "surrogate-data", "surrogate-learner", "unknown-schedule"]] | None = None
    surrogates: Axis[Text] | None = None
    adjoints: Axis[Literal["checkpointed", "back-gradient", "reversible", "implicit"]] | None = None
    starts: Axis[Literal["train", "validation"]] | None = None
    attack_step_size: Axis[Number] | None = None
    attack_steps: Axis[Count] | None = None
    outer_step_size: Axis[Number] | None = None
    outer_steps: Axis[Count] | None = None
    redraw: Axis[StrictBool] | None = None
    rehearsal: Axis[Count] | None = None
    dropout: Axis[Number] | None = None
    reuse: Axis[Number] | None = None
    epsilon: Axis[Number] | None = None


#: The keys that span the grid, and the fields of `backgrad.evaluation.words.Options` behind them.
AXES: Mapping[str, str] = {
    "learners": "learner",
    "points": "points",
    "strategies": "strategy",
    "objectives": "objective",
    "goals": "goal",
    "feasible": "feasible",
    "adjoints": "adjoint",
    "starts": "start",
    **{
        name: name
        for name in (
            *("step_size", "steps", "momentum", "batch_size", "l2", "hold_others", "labels", "knowledge", "surrogates"),
            *("attack_step_size", "attack_steps", "outer_step_size", "outer_steps", "redraw", "rehearsal"),
            *("dropout", "reuse", "epsilon"),
        )
    },
}


# --- from a file to a study -----------------------------------------------------------------------


def read_study(path: Path) -> Study:
    """Return the study in a YAML file.

    Raises:
        InputError: a file that cannot be read, with all that is wrong with it.
    """
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise InputError(f"the file {path} must hold keys and values, such as 'name: mine'; it holds none.")
    return make_study(parse_study(content, where=str(path)))


def parse_study(content: Mapping[str, Any], *, where: str = "the study") -> StudyFile:
    """Return a file's content, checked.

    Args:
        content: keys and values.
        where: what the error calls it.

    Raises:
        InputError: all that is wrong with it, in one message.
    """
    problems = []
    if "points" in content and "fractions" in content:
        problems.append("points and fractions both say how much is poisoned: keep one")
    try:
        found = StudyFile.model_validate(content)
    except ValidationError as error:
        problems += [_describe(one) for one in error.errors()]
    else:
        if not problems:
            return found
    if len(problems) == 1:
        raise InputError(f"{where} has a problem: {problems[0]}.")
    numbered = "; ".join(f"({number}) {problem}" for number, problem in enumerate(problems, 1))
    raise InputError(f"{where} has {len(problems)} problems: {numbered}.")


def _describe(error: Any) -> str:
    """Return one of pydantic's errors as: where, what was expected, what came."""
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]).lstrip(".")
    kind, got = error["type"], repr(error["input"])
    got = got if len(got) <= 60 else f"{got[:57]}…"
    if kind == "extra_forbidden":
        words = DataItem.model_fields if len(error["loc"]) > 1 else StudyFile.model_fields
        return f"{place} is no key{_near(error['loc'][-1], words) or f': these are {_words(words)}'}"
    if kind == "missing":
        return f"{place} is missing"
    if kind == "literal_error":
        words = error["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        return f"{place}: expected one of {_words(words)}, got {got}{_near(error['input'], words)}"
    if kind == "string_pattern_mismatch":
        return f"{place}: expected up to 64 letters, digits, '.', '_' and '-', as in a file's name, got {got}"
    text = (
        error["msg"].replace("Input should be", "expected").replace("a valid ", "a ").replace("integer", "whole number")
    )
    return f"{place}: {text}, got {got}"


def _words(words: Iterable[str]) -> str:
    return ", ".join(words)


def make_study(file: StudyFile) -> Study:
    """Return the runs of a file: split by split, so that an unfinished study has something of each combination.

    Raises:
        InputError: more runs than `MOST_RUNS`, or a table that cannot be read.
    """
    axes = {AXES[key]: values for key in AXES if (values := getattr(file, key)) is not None}
    if file.fractions is not None:
        axes["points"] = _budgets(file.fractions, file.train)
    count = len(file.datasets) * file.splits * math.prod(len(values) for values in axes.values())
    if count > MOST_RUNS:
        raise InputError(
            f"the study asks for {count} runs, and may for {MOST_RUNS}: shorten its lists, or split it up."
        )
    settings = list(_combinations(file, axes))
    runs = [Run(TASKS["attack"].run, one, split, file.seed) for split in range(file.splits) for one in settings]
    return Study(file.name, tuple(runs), file.model_dump(mode="json", exclude_none=True))


def _combinations(file: StudyFile, axes: Mapping[str, tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    from ..datasets.registry import is_known
    from ..evaluation.words import Options

    for item in file.datasets:
        # A table's content decides on the outcome as much as any setting.
        is_table = not is_known(item.path) and Path(item.path).is_file()
        digest = file_digest(item.path) if is_table else None
        data = {"name": item.path, "target": item.target, "task": item.task, "sha256": digest}
        for values in itertools.product(*axes.values()):
            options = dataclasses.asdict(Options(**dict(zip(axes, values, strict=True))))
            yield {"data": data, "train": file.train, "validation": file.validation, "options": options}


def _budgets(fractions: tuple[float, ...], train: int) -> tuple[int, ...]:
    """Return the numbers of points of fractions.

    Raises:
        InputError: two fractions that are the same number of points.
    """
    from ..evaluation.security_curve import budget_of

    found = tuple(budget_of(fraction, train) for fraction in fractions)
    for number, budget in enumerate(found):
        if budget in found[:number]:
            raise InputError(
                f"fractions has two that are {budget} points on {train} training rows: keep one, or raise train."
            )
    return found
