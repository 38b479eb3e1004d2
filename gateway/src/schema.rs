//! What the dialect needs of a tool's input schema: the order of the parameters, and which of them may be objects.

use std::cell::Cell;

use serde_json::{Map, Value};

/// A parameter of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameter {
    pub(crate) name: String,
    /// Whether its value may be an object.
    pub(crate) takes_object: bool,
}

/// So many schemas are looked at for one parameter, for references can multiply; beyond, it is taken to accept an object.
const STEPS: usize = 1000;

/// The parameters of a tool in the order of its schema's properties.
pub(crate) fn parameters(schema: &Value) -> Vec<Parameter> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Vec::new() };
    let parameter = |(name, property): (&String, &Value)| Parameter {
        name: name.clone(),
        takes_object: takes_object(property, schema, &Cell::new(STEPS)),
    };
    properties.iter().map(parameter).collect()
}

fn takes_object(property: &Value, root: &Value, steps: &Cell<usize>) -> bool {
    match property {
        Value::Bool(accepts) => *accepts,
        Value::Object(_) if steps.get() == 0 => true,
        Value::Object(keywords) => {
            steps.set(steps.get() - 1);
            object_keywords_allow(keywords, root, steps)
        }
        _ => true,
    }
}

fn object_keywords_allow(keywords: &Map<String, Value>, root: &Value, steps: &Cell<usize>) -> bool {
    let branches = |keyword: &str| keywords.get(keyword).and_then(Value::as_array);
    let allows = |schema: &Value| takes_object(schema, root, steps);
    let by_type = match keywords.get("type") {
        Some(Value::String(name)) => name == "object",
        Some(Value::Array(names)) => names.iter().any(|name| name == "object"),
        _ => true,
    };
    let by_value = keywords.get("const").is_none_or(Value::is_object)
        && branches("enum").is_none_or(|values| values.iter().any(Value::is_object));
    let by_reference = keywords.get("$ref").and_then(Value::as_str).is_none_or(|reference| {
        reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer)).is_none_or(allows)
    });
    by_type
        && by_value
        && by_reference
        && branches("anyOf").is_none_or(|any| any.iter().any(allows))
        && branches("oneOf").is_none_or(|one| one.iter().any(allows))
        && branches("allOf").is_none_or(|all| all.iter().all(allows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn parameters_keep_the_order_of_the_schema() {
        let schema =
            json!({"type": "object", "properties": {"z": {"type": "string"}, "a": {}, "m": {"type": "object"}}});
        let found: Vec<_> = parameters(&schema).into_iter().map(|one| (one.name, one.takes_object)).collect();
        assert_eq!(found, [("z".to_owned(), false), ("a".to_owned(), true), ("m".to_owned(), true)]);
        assert_eq!(parameters(&json!({"type": "object"})), []);
        assert_eq!(parameters(&json!(true)), []);
    }

    #[test]
    fn objects_are_seen_through_references_and_alternatives() {
        let root = json!({"$defs": {"options": {"type": "object"}, "word": {"type": "string"}, "loop": {"$ref": "#/$defs/loop"}}});
        let table = [
            (json!({"type": ["string", "null"]}), false),
            (json!({"type": ["object", "null"]}), true),
            (json!({"anyOf": [{"$ref": "#/$defs/options"}, {"type": "null"}]}), true),
            (json!({"anyOf": [{"$ref": "#/$defs/word"}, {"type": "null"}]}), false),
            (json!({"$ref": "#/$defs/word"}), false),
            (json!({"$ref": "#/$defs/loop"}), true),
            (json!({"enum": ["text", "base64"]}), false),
            (json!({"const": 1}), false),
            (json!({"description": "any"}), true),
            (json!(true), true),
            (json!(false), false),
        ];
        for (property, expected) in table {
            assert_eq!(takes_object(&property, &root, &Cell::new(STEPS)), expected, "{property}");
        }
    }
}
