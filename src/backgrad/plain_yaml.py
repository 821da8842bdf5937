"""Reading YAML that a stranger may have written: plain values, within bounds, or an error with its place.

Refused besides what `yaml.safe_load` refuses: files above 256 KiB, nesting above 20, keys that are there twice, and
anchors, with which a short file stands for a huge one.
"""

from pathlib import Path
from typing import Any

import yaml

from .errors import InputError

LARGEST, DEEPEST = 256 * 1024, 20


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file.

    Raises:
        InputError: it cannot be read, is no YAML, or is one of the things above.
    """
    try:
        with path.open("rb") as handle:
            content = handle.read(LARGEST + 1)
    except OSError as error:
        raise InputError(f"the file {path} cannot be read ({error.strerror or error}): check its name.") from None
    if len(content) > LARGEST:
        raise InputError(f"the file {path} must have {LARGEST // 1024} KiB or less: is it the right file?")
    try:
        text = content.decode("utf-8-sig")
        _check_events(text, path)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None:
            _check_keys(node, path)
        return yaml.safe_load(text)
    except UnicodeDecodeError:
        raise InputError(f"the file {path} must be text in UTF-8, and is not.") from None
    except yaml.YAMLError as error:
        raise InputError(f"the file {path} is not YAML: {_where(error)}.") from None
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the file {path} has a value that is none: {error}.") from None  # a date of 30 February


def _check_events(text: str, path: Path) -> None:
    """Raise at an anchor or deep nesting, before anything is built."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise InputError(f"the file {path} must not use anchors (& and *), but does in line {line}: write it out.")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEEPEST:
                raise InputError(f"the file {path} is nested more than {DEEPEST} deep in line {line}.")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _check_keys(node: yaml.Node, path: Path) -> None:
    """Raise where a mapping has a key twice, of which YAML would silently take the last."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise InputError(f"the file {path} must have words as keys, but has something else in line {line}.")
            if key.value in seen:
                raise InputError(
                    f"the file {path} has the key {key.value!r} twice, in lines {seen[key.value]} and {line}: keep one."
                )
            seen[key.value] = line
            _check_keys(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_keys(item, path)


def _where(error: yaml.YAMLError) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None:
        return " ".join(str(error).split())
    return f"{problem or 'it cannot be understood'} (line {mark.line + 1}, column {mark.column + 1})"
