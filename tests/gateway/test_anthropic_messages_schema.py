import pytest

from gateway.dialects.anthropic_messages.schema import closed_schema, is_open


def object_of(**properties):
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {"additionalProperties": True},
        object_of(a={"type": "object", "additionalProperties": {"type": "string"}}),
        {"anyOf": [{"type": "string"}, {"type": "object", "properties": {}}]},
        {"$defs": {"a": {"type": "object"}}, **object_of(a={"$ref": "#/$defs/a"})},
    ],
)
def test_objects_with_fields_that_nobody_names_are_open(schema):
    assert is_open(schema)


@pytest.mark.parametrize(
    "schema",
    [
        object_of(a={"type": "string"}),
        object_of(a={"type": "string"}) | {"additionalProperties": False},
        {"type": "array", "items": object_of(a={"type": "string"})},
        {"type": "string"},
    ],
)
def test_others_are_not(schema):
    assert not is_open(schema)


def test_every_object_is_closed():
    schema = {"$defs": {"x": object_of(b={})}, **object_of(a={"items": object_of(c={})})}

    closed = closed_schema(schema)

    assert closed["additionalProperties"] is False
    assert closed["$defs"]["x"]["additionalProperties"] is False
    assert closed["properties"]["a"]["items"]["additionalProperties"] is False


@pytest.mark.parametrize(
    ("schema", "written"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 9, "description": "A number"},
         {"type": "integer", "description": "A number\n\n{minimum: 1, maximum: 9}"}),
        ({"type": "string", "pattern": "a+"}, {"type": "string", "description": '{pattern: "a+"}'}),
        ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
        ({"type": "string", "format": "ssn"}, {"type": "string", "description": '{format: "ssn"}'}),
        ({"type": "array", "minItems": 1}, {"type": "array", "minItems": 1}),
        ({"type": "array", "minItems": 2}, {"type": "array", "description": "{minItems: 2}"}),
        ({"oneOf": [{"type": "string"}]}, {"anyOf": [{"type": "string"}]}),
        ({"enum": ["a"], "const": "a", "default": "a", "title": "t"},
         {"enum": ["a"], "const": "a", "default": "a", "title": "t"}),
        ({"$schema": "x", "type": "null"}, {"type": "null"}),
    ],
)  # fmt: skip
def test_what_is_not_known_goes_into_the_description(schema, written):
    assert closed_schema(schema) == written
