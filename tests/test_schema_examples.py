"""The examples in the JSON Schemas: each is valid where it stands, and every key that needs one has one."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter

from engine.manifest import json_schema, read_cases, read_yaml
from engine.manifest.bundle_model import Model
from engine.manifest.examples import EXAMPLES
from engine.manifest.schema import MODELS
from engine.models import PLUGINS


def models(model: type[Model]) -> Iterator[type[Model]]:
    """Yield the models of a document."""
    names = json_schema(next(kind for kind, root in MODELS.items() if root is model))["$defs"]
    yield model
    yield from (found for found in _all(Model) if found.__name__ in names)


def _all(model: type[Model]) -> Iterator[type[Model]]:
    for below in model.__subclasses__():
        yield below
        yield from _all(below)


ROWS = sorted(
    {
        (found, field)
        for root in MODELS.values()
        for found in models(root)
        for field in EXAMPLES.get(found.__name__, ())
    },
    key=str,
)


def test_the_table_names_what_there_is() -> None:
    known = {found.__name__: found for root in MODELS.values() for found in models(root)}
    assert set(EXAMPLES) <= set(known)
    for name, fields in EXAMPLES.items():
        assert set(fields) <= set(known[name].model_fields), name


@pytest.mark.parametrize(("model", "field"), ROWS, ids=lambda value: getattr(value, "__name__", value))
def test_an_example_is_valid_where_it_stands(model: type[Model], field: str) -> None:
    examples = EXAMPLES[model.__name__][field]
    assert examples
    adapter: TypeAdapter[Any] = TypeAdapter(model.model_fields[field].rebuild_annotation(), config=None)
    for example in examples:
        adapter.validate_json(json.dumps(example), strict=True)


@pytest.mark.parametrize("kind", MODELS)
def test_an_example_fits_its_schema_and_none_is_missing(kind: str) -> None:
    schema = json_schema(kind)
    definitions = schema["$defs"]
    seen = 0
    for name, found in {"": schema, **definitions}.items():
        for key, value in found.get("properties", {}).items():
            for example in value.get("examples", ()):
                Draft202012Validator({**value, "$defs": definitions}).validate(example)
                seen += 1
            assert "examples" in value or shows_itself(value, definitions), f"{name}.{key} needs an example"
    assert seen > 10


def shows_itself(value: dict[str, Any], definitions: dict[str, Any]) -> bool:
    """Whether a key says what may stand there: by a list of values, yes or no, a default, or keys of its own."""
    whole = {**definitions[value["$ref"].rpartition("/")[2]], **value} if "$ref" in value else value
    listed = whole.get("type") == "boolean" or "enum" in whole or "const" in whole or "properties" in whole
    return listed or whole.get("default") not in (None, [], {})


def test_examples_of_names_name_what_exists() -> None:
    assert set(EXAMPLES["ModelSpec"]["plugin"]) | set(EXAMPLES["Operation"]["plugin"]) <= set(PLUGINS)


def test_the_example_of_cases_is_a_file_of_cases() -> None:
    document = json.dumps({"format": 1, "cases": EXAMPLES["CaseFile"]["cases"][0]})
    assert read_cases(read_yaml(document, "cases.yaml")).diagnostics == ()
