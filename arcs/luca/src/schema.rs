//! JSON Schema as far as a command line needs it: which arguments a tool takes, of which kinds, in words.

use serde_json::{Map, Value};

/// How deep references and alternatives are followed; schemas of tools are flat, and one that refers to itself must end.
const DEPTH_MAX: usize = 8;

/// One argument of a tool.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Argument {
    /// Its name.
    pub name: String,
    /// Whether it must be given.
    pub required: bool,
    /// What it may be.
    pub kinds: Kinds,
    /// What its author says about it, on one line.
    pub description: String,
    /// A value that its author gives as an example, or the default.
    pub example: Option<Value>,
}

/// The kinds of value that a schema lets through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Kinds {
    /// JSON types in the order of the schema; empty: any.
    types: Vec<String>,
    /// The values of an enumeration of strings.
    pub choices: Vec<String>,
    /// What the items of an array may be.
    items: Option<Box<Kinds>>,
}

/// The arguments that an input schema names, in its order, which is the order of positional parameters.
pub(crate) fn arguments(schema: &Value) -> Vec<Argument> {
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Vec::new() };
    let argument = |(name, property): (&String, &Value)| Argument {
        name: name.clone(),
        required: required.contains(&name.as_str()),
        kinds: Kinds::of(property, schema),
        description: described(property),
        example: example(property),
    };
    properties.iter().map(argument).collect()
}

fn described(property: &Value) -> String {
    let text = property.get("description").and_then(Value::as_str).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn example(property: &Value) -> Option<Value> {
    let examples = property.get("examples").and_then(Value::as_array);
    let first = examples.and_then(|examples| examples.first());
    first.or_else(|| property.get("default")).filter(|value| !value.is_null()).cloned()
}

impl Kinds {
    /// Those of `schema`; references are looked up in `root`.
    pub(crate) fn of(schema: &Value, root: &Value) -> Self {
        let mut kinds = Self::default();
        let is_bounded = kinds.gather(schema, root, DEPTH_MAX);
        if is_bounded { kinds } else { Self::default() }
    }

    /// Adds what `schema` lets through. `false`: anything.
    fn gather(&mut self, schema: &Value, root: &Value, depth: usize) -> bool {
        let Some(schema) = schema.as_object().filter(|_| depth > 0) else { return false };
        if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
            let target = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
            return target.is_some_and(|target| self.gather(target, root, depth - 1));
        }
        if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
            return choices.iter().all(|choice| self.add_constant(choice));
        }
        if let Some(constant) = schema.get("const") {
            return self.add_constant(constant);
        }
        for key in ["anyOf", "oneOf", "allOf"] {
            if let Some(alternatives) = schema.get(key).and_then(Value::as_array) {
                return alternatives.iter().all(|alternative| self.gather(alternative, root, depth - 1));
            }
        }
        self.add_types(schema, root, depth)
    }

    fn add_types(&mut self, schema: &Map<String, Value>, root: &Value, depth: usize) -> bool {
        let types: Vec<&str> = match schema.get("type") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
            _ => return false,
        };
        for name in &types {
            self.add(name);
        }
        if types.contains(&"array")
            && let Some(items) = schema.get("items")
        {
            let mut kinds = Self::default();
            let is_bounded = kinds.gather(items, root, depth - 1);
            self.items = is_bounded.then(|| Box::new(kinds));
        }
        true
    }

    fn add_constant(&mut self, constant: &Value) -> bool {
        self.add(type_of(constant));
        if let Value::String(text) = constant {
            self.choices.push(text.clone());
        }
        true
    }

    fn add(&mut self, name: &str) {
        if !self.types.iter().any(|known| known == name) {
            self.types.push(name.to_owned());
        }
    }

    /// Whether `value` is of one of these kinds.
    pub(crate) fn admit(&self, value: &Value) -> bool {
        let name = type_of(value);
        self.types.is_empty()
            || self.types.iter().any(|known| known == name || (known == "number" && name == "integer"))
    }

    /// Whether a string is the only thing that it can be, `null` apart.
    pub(crate) fn are_text(&self) -> bool {
        self.types.iter().any(|name| name == "string")
            && self.types.iter().all(|name| name == "string" || name == "null")
    }

    /// Whether an object is one of the kinds that the schema names.
    pub(crate) fn name_objects(&self) -> bool {
        self.types.iter().any(|name| name == "object")
    }

    /// The kinds as people read them: `string`, `integer | null`, `"text" | "base64"`, `any`.
    pub(crate) fn in_words(&self) -> String {
        if self.types.is_empty() {
            return "any".to_owned();
        }
        let word = |name: &String| match (name.as_str(), &self.items) {
            ("string", _) if !self.choices.is_empty() => {
                self.choices.iter().map(|choice| format!("{choice:?}")).collect::<Vec<_>>().join(" | ")
            }
            ("array", Some(items)) => format!("[{}]", items.in_words()),
            (name, _) => name.to_owned(),
        };
        self.types.iter().map(word).collect::<Vec<_>>().join(" | ")
    }

    /// A value of the first kind, to show how it is written.
    pub(crate) fn sample(&self) -> Value {
        match (self.choices.first(), self.types.first().map(String::as_str)) {
            (Some(choice), _) => Value::from(choice.as_str()),
            (None, Some("integer" | "number")) => Value::from(3),
            (None, Some("boolean")) => Value::from(true),
            (None, Some("array")) => Value::Array(Vec::new()),
            (None, Some("object")) => Value::Object(Map::new()),
            (None, Some(_)) => Value::from("hello"),
            (None, None) => Value::from("world"),
        }
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn words(schema: Value) -> String {
        Kinds::of(&schema, &schema).in_words()
    }

    #[test]
    fn kinds_are_said_in_words() {
        assert_eq!(words(json!({"type": "string"})), "string");
        assert_eq!(words(json!({"type": ["integer", "null"]})), "integer | null");
        assert_eq!(words(json!({"enum": ["text", "base64"]})), "\"text\" | \"base64\"");
        assert_eq!(words(json!({"anyOf": [{"type": "string"}, {"type": "null"}]})), "string | null");
        assert_eq!(words(json!({"type": "array", "items": {"type": "string"}})), "[string]");
        assert_eq!(words(json!({"$ref": "#/$defs/t", "$defs": {"t": {"type": "number"}}})), "number");
        assert_eq!(words(json!({})), "any");
        assert_eq!(words(json!(true)), "any");
        assert_eq!(words(json!({"anyOf": [{"type": "string"}, {}]})), "any");
    }

    #[test]
    fn a_schema_that_refers_to_itself_is_any() {
        assert_eq!(words(json!({"$ref": "#"})), "any");
        assert_eq!(words(json!({"anyOf": [{"$ref": "#"}]})), "any");
    }

    #[test]
    fn arguments_keep_the_order_of_the_schema() {
        let schema = json!({"properties": {
            "key": {"type": "string", "description": "The\n  key", "examples": ["hello"]},
            "at": {"type": "integer", "default": 3}}, "required": ["key"]});
        let arguments = arguments(&schema);
        let names: Vec<&str> = arguments.iter().map(|argument| argument.name.as_str()).collect();
        assert_eq!(names, ["key", "at"]);
        assert_eq!((arguments[0].required, arguments[1].required), (true, false));
        assert_eq!(arguments[0].description, "The key");
        assert_eq!(arguments[1].example, Some(json!(3)));
    }

    #[test]
    fn an_integer_is_a_number_and_not_the_other_way() {
        let kinds = |name: &str| Kinds::of(&json!({"type": name}), &Value::Null);
        assert!(kinds("number").admit(&json!(3)) && !kinds("integer").admit(&json!(3.5)));
    }
}
