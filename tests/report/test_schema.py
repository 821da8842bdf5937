import json
from importlib import resources

import numpy as np
import pytest

from backgrad.errors import InputError
from backgrad.report import MAPPINGS, AuditRecord, json_schema, mappings_for, validate

from .samples import SAMPLES, make

PACKAGED = json.loads(resources.files("backgrad.report").joinpath("audit.schema.json").read_text("utf-8"))


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "huge"])
def test_samples_are_records_and_come_back_unchanged(name):
    record = make(name)
    audit = validate(record)
    assert validate(audit) is audit
    again = json.loads(json.dumps(audit.model_dump()))
    given = json.loads(json.dumps(record))
    assert again["curves"] == given["curves"]
    assert again["health"] == given["health"]


def set_at(record, path, value):
    *way, last = path
    for key in way:
        record = record[key]
    record[last] = value


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("surprise",), 1, "surprise: is no key"),
        (("baseline", "error", "mean"), 1.2, "baseline.error.mean"),
        (("baseline", "error", "mean"), "0.1", "baseline.error.mean"),
        (("run", "seed"), 1.5, "run.seed"),
        (("run", "splits"), True, "run.splits"),
        (("run", "started"), "yesterday", "run.started"),
        (("verdict",), ["one sentence"], "verdict"),
        (("curves",), [], "curves"),
        (("curves", 0, "points"), [0, 1], "curves[0]: points must have one entry for each of the 6 fractions"),
        (
            ("curves", 1, "points"),
            [0, 5, 10, 26, 60, 125],
            "curves[1]: 60 points among 500 training rows must be a fraction of 0.1071, got 0.1",
        ),
        (("transfer", "fraction"), 0.06, "transfer: 26 points among 500 training rows must be a fraction of 0.04943"),
        (("curves", 0, "fractions"), [0.0, 0.02, 0.01, 0.05, 0.1, 0.2], "curves[0]: fractions must increase"),
        (("curves", 0, "poisoned", "splits", 2), [0.1], "poisoned.splits"),
        (("curves", 0, "poisoned", "interval", 1), [0.5, 0.1], "poisoned.interval must run from"),
        (("class_damage", "confusion_clean"), None, "must be given together"),
        (("class_damage", "confusion_clean"), [[1.0]], "confusion_clean must have one entry"),
        (("breaking_point", "censored"), True, "must be null where censored is true"),
        (("transfer", "errors"), [[0.1]], "errors must have one entry for each of the 3 surrogates"),
        (("certificates", "budgets"), [3, 2, 1], "budgets must increase"),
        (("certificates", "certified_error", 0), 1.0, "certified_error must not fall"),
        (("health", "verdict"), "splendid", "health.verdict"),
        (("gate", "exit_code"), 0, "exit_code must be 1 where verdict is 'broken'"),
        (("gate", "limit"), None, "limit and at must be numbers"),
        (("input", "columns", 0, "kind"), "vector", "input.columns[0].kind"),
        (("schema_version",), "2.0", "schema_version '1.0', got '2.0'"),
    ],
)
def test_broken_records_are_refused_with_the_place(path, value, told):
    record = make("normal")
    set_at(record, path, value)
    with pytest.raises(InputError) as caught:
        validate(record)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_breaking_point_lies_between_two_numbers_of_rows():
    record = make("normal")
    n = record["input"]["train_rows"]
    for share in np.linspace(0.021, 0.049, 30):
        points = int(np.ceil(share * n / (1 - share)))
        record["breaking_point"] |= {"fraction": float(share), "points": points}
        validate(record)
        record["breaking_point"]["points"] = points + 2
        with pytest.raises(InputError, match=f"breaking_point: {points + 2} points among {n} training rows"):
            validate(record)


def test_images_have_the_pixels_that_their_shape_says():
    record = make("images")
    record["poison"]["images"]["after"][2] = [0.0]
    with pytest.raises(InputError, match="each image must have one entry for each of the 784 pixels"):
        validate(record)
    record = make("images")
    record["poison"]["images"]["shape"] = [28, 7, 4]
    with pytest.raises(InputError, match="3 for colour"):
        validate(record)


def test_numbers_that_are_none_are_refused():
    record = make("normal")
    record["baseline"]["error"]["mean"] = float("nan")
    with pytest.raises(InputError, match="must be plain JSON"):
        validate(record)
    with pytest.raises(InputError, match="must be plain JSON"):
        validate({"a": object()})
    with pytest.raises(InputError, match="problem"):
        validate([])


def test_all_problems_are_told_at_once_and_bounded():
    record = make("normal")
    for one in record["input"]["columns"]:
        one["missing"] = -1
    with pytest.raises(InputError, match=r"48 problems: .*; and 40 more\.") as caught:
        validate(record)
    assert len(str(caught.value)) < 2000


def test_an_attack_that_failed_passes_no_gate():
    record = make("failed")
    record["gate"] |= {"verdict": "passed", "exit_code": 0}
    with pytest.raises(InputError, match="must be 'inconclusive' where attacks of 26 points failed"):
        validate(record)
    for one in record["health"]["splits"]:
        one["points"] = 125  # they failed at another budget than the gate's
    validate(record)


def test_the_packaged_schema_is_that_of_the_models():
    assert json_schema() == PACKAGED
    assert PACKAGED["$schema"].endswith("2020-12/schema")
    assert set(PACKAGED["required"]) == set(AuditRecord.model_fields)
    assert PACKAGED["additionalProperties"] is False


def walk(schema, value, root, path="$"):
    """Check a value against the few words of JSON Schema that ours uses; return where it does not fit."""
    if "$ref" in schema:
        return walk(root["$defs"][schema["$ref"].rsplit("/", 1)[1]], value, root, path)
    if "anyOf" in schema:
        tries = [walk(one, value, root, path) for one in schema["anyOf"]]
        return [] if any(not found for found in tries) else [path]
    kinds = {
        "object": lambda v: isinstance(v, dict),
        "array": lambda v: isinstance(v, list),
        "string": lambda v: isinstance(v, str),
        "boolean": lambda v: isinstance(v, bool),
        "null": lambda v: v is None,
        "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
        "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    }
    if "type" in schema and not kinds[schema["type"]](value):
        return [path]
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        return [path]
    found = []
    if isinstance(value, int | float) and not isinstance(value, bool):
        ok = schema.get("minimum", value) <= value <= schema.get("maximum", value)
        found += [] if ok and value < schema.get("exclusiveMaximum", float("inf")) else [path]
    if isinstance(value, list):
        ok = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
        found += [] if ok else [path]
        items = [walk(schema.get("items", {}), one, root, f"{path}[{i}]") for i, one in enumerate(value)]
        found += [place for places in items for place in places]
    if isinstance(value, dict):
        known, rest = schema.get("properties", {}), schema.get("additionalProperties", True)
        found += [f"{path}.{key}" for key in schema.get("required", []) if key not in value]
        for key, part in value.items():
            if key not in known and rest is False:
                found.append(f"{path}.{key}")
            one = known.get(key, rest)
            found += walk(one, part, root, f"{path}.{key}") if isinstance(one, dict) else []
    return found


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "huge"])
def test_the_schema_itself_takes_samples(name):
    assert walk(PACKAGED, json.loads(json.dumps(make(name))), PACKAGED) == []


def test_the_schema_itself_refuses_broken_records():
    for path, value in [
        (("surprise",), 1),
        (("health", "verdict"), "splendid"),
        (("verdict",), ["one"]),
        (("gate", "limit"), 2),
    ]:
        record = make("normal")
        set_at(record, path, value)
        assert walk(PACKAGED, record, PACKAGED), path
    record = make("normal")
    del record["gate"]
    assert walk(PACKAGED, record, PACKAGED) == ["$.gate"]


def test_every_part_of_the_schema_is_described():
    for name, part in {"audit.json": PACKAGED, **PACKAGED["$defs"]}.items():
        assert part.get("description"), name


def test_terms_are_the_record_s_and_say_nothing_of_compliance():
    record = make("normal")
    record["mappings"] = mappings_for(["availability", "transfer"])
    found = {one.id for one in validate(record).mappings}
    assert {"AML.T0020", "ML02:2023", "NISTAML.013", "AML.T0043.002", "Article 15(5)"} <= found
    assert "NISTAML.024" not in found  # nobody aimed at one class
    assert {one["id"] for one in mappings_for([])} < found
    assert all(one["version"] and "complian" not in " ".join(one.values()).lower() for one in MAPPINGS)
