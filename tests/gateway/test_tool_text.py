from gateway.canonical import Tool
from gateway.tool_text import DEEPEST, as_json, as_types


def test_tools_are_written_as_types():
    schema = {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Where"},
            "days": {"type": "integer"},
            "kinds": {"type": "array", "items": {"enum": ["a", 1]}},
            "place": {"type": "object", "properties": {"x": {"type": "number"}}},
            "rest": {},
        },
        "required": ["city"],
    }

    written = as_types([Tool("look", "Looks.", schema), Tool("go")])

    assert written == (
        "namespace functions {\n\n"
        "// Looks.\n\n"
        "type look = (_: {\n// Where\ncity: string,\ndays?: number,\n"
        'kinds?: "a" | 1[],\nplace?: {\nx?: number,\n},\nrest?: any,\n}) => any;\n\n'
        "type go = () => any;\n\n"
        "} // namespace functions"
    )


def test_tools_are_written_as_json():
    assert as_json([Tool("a", "b", {"type": "object"}), Tool("c")]) == (
        '{"name":"a","description":"b","parameters":{"type":"object"}}\n'
        '{"name":"c","description":"","parameters":{}}'
    )


def test_a_schema_without_an_end_is_not_followed_to_it():
    schema = {"type": "string"}
    for _ in range(1000):
        schema = {"type": "object", "properties": {"in": schema}}

    assert as_types([Tool("deep", parameters=schema)]).count("in?:") <= DEEPEST + 1


def test_a_schema_that_is_none_is_written_all_the_same():
    odd = {"properties": {"a": 5, "b": {"type": ["string", "null"]}}, "required": "a"}

    assert "a?: any,\nb?: string | null," in as_types([Tool("odd", parameters=odd)])
