"""Judges resources by the schemas in `tests/vectors/schemas`. In: a JSON list of resources.
Out: for each, a list of what is wrong with it."""

import json
import pathlib
import sys

from jsonschema import Draft202012Validator

FOLDER = pathlib.Path(__file__).parents[1] / "vectors" / "schemas"


def main():
    definitions = {}
    for file in FOLDER.glob("*.json"):
        for name, schema in json.loads(file.read_text())["$defs"].items():
            assert name not in definitions, f"{name} is defined twice"
            definitions[name] = closed(schema)
    kinds = {kind: name for name, schema in definitions.items() if (kind := kind_of(schema))}
    json.dump([mistakes(r, kinds, definitions) for r in json.load(sys.stdin)], sys.stdout)


def closed(schema):
    """Kubernetes refuses or drops a field that is not listed: here it is a mistake."""
    if isinstance(schema, list):
        return [closed(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: closed(value) for key, value in schema.items()}
    # A field may be called `properties` itself: then its schema is no list of fields.
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        schema.setdefault("additionalProperties", False)
    return schema


def kind_of(schema):
    fields = schema.get("properties", {})
    of = [fields.get(name, {}).get("enum", []) for name in ("apiVersion", "kind")]
    return json.dumps([values[0] for values in of]) if all(of) else None


def mistakes(resource, kinds, definitions):
    kind = json.dumps([resource.get("apiVersion"), resource.get("kind")])
    if kind not in kinds:
        return [f"no schema for {kind}"]
    schema = {"$ref": f"#/$defs/{kinds[kind]}", "$defs": definitions}
    return [f"{e.json_path}: {e.message[:300]}" for e in Draft202012Validator(schema).iter_errors(resource)]


main()
