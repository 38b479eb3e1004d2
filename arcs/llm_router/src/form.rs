//! The form that a caller asks an answer to have: a JSON schema.
//!
//! A schema comes from a caller and is bounded. What backends understand of it differs, so each is sent as much as it
//! does; whether an answer fits is decided here, by the whole of it.

use jsonschema::{PatternOptions, Validator};
use kit::{Error, Result};
use serde_json::{Map, Value, json};

/// Where a caller's schema stands in the arguments.
const PLACE: &str = "/options/schema";

/// The largest schema, in bytes of JSON, and the deepest.
const MAX_BYTES: usize = 64 << 10;
const MAX_DEPTH: usize = 32;

/// llama.cpp refuses a grammar with more repetitions (`MAX_REPETITION_THRESHOLD` of `llama-grammar.cpp`).
const MAX_REPETITIONS: u64 = 2000;

/// At how many places of an answer a value is looked for, and how many problems are told.
const MAX_STARTS: usize = 16;
const MAX_PROBLEMS: usize = 5;

/// Keywords whose values are schemas by name, and those whose values are data.
const MAPS: [&str; 5] = ["properties", "$defs", "definitions", "patternProperties", "dependentSchemas"];
const DATA: [&str; 4] = ["const", "enum", "default", "examples"];

/// What Gemini takes in `responseJsonSchema` (ai.google.dev, GenerationConfig).
const GEMINI: [&str; 20] = [
    "$id",
    "$defs",
    "$ref",
    "$anchor",
    "type",
    "format",
    "title",
    "description",
    "enum",
    "items",
    "prefixItems",
    "minItems",
    "maxItems",
    "minimum",
    "maximum",
    "anyOf",
    "oneOf",
    "properties",
    "additionalProperties",
    "required",
];

/// A JSON schema, compiled.
pub(crate) struct Form {
    schema: Value,
    validator: Validator,
}

impl Form {
    /// Compiles a caller's schema. References are not taken, for a few of them can stand for more work than the age of
    /// the universe allows; patterns are matched in linear time (no look-around, no back-references).
    pub(crate) fn compile(schema: Map<String, Value>) -> Result<Self> {
        let schema = Value::Object(schema);
        let bytes = schema.to_string().len();
        if bytes > MAX_BYTES {
            return Err(Error::invalid(PLACE, format!("has {bytes} bytes of JSON; at most {MAX_BYTES} are taken")));
        }
        if depth(&schema) > MAX_DEPTH {
            return Err(Error::invalid(PLACE, format!("is nested more than {MAX_DEPTH} deep")));
        }
        if has_reference(&schema) {
            return Err(Error::invalid(PLACE, "must hold no references: write the parts out where they are used"));
        }
        let validator = jsonschema::options()
            .offline()
            .with_pattern_options(PatternOptions::regex().size_limit(1 << 20))
            .build(&schema)
            .map_err(|error| {
                let within = error.instance_path().to_string();
                Error::invalid(format!("{PLACE}{within}"), format!("is no usable JSON schema: {}", error.masked()))
            })?;
        Ok(Self { schema, validator })
    }

    /// What llama.cpp, Ollama and OpenAI's servers are sent: without what makes llama.cpp refuse or misread the whole.
    pub(crate) fn for_grammar(&self) -> Value {
        thinned(&self.schema, &|keyword: &str, value: &Value| match keyword {
            "not" => false,
            "maxLength" | "minLength" | "maxItems" | "minItems" => value.as_u64().is_some_and(|n| n <= MAX_REPETITIONS),
            "pattern" => value.as_str().is_some_and(|pattern| pattern.starts_with('^') && pattern.ends_with('$')),
            _ => true,
        })
    }

    /// What Gemini is sent.
    pub(crate) fn for_gemini(&self) -> Value {
        thinned(&self.schema, &|keyword: &str, _: &Value| GEMINI.contains(&keyword))
    }

    /// The schema in words, for a backend that takes it in no other way.
    pub(crate) fn instruction(&self) -> String {
        format!("Answer with one JSON value alone, without any other text, that fits this JSON schema: {}", self.schema)
    }

    /// The value in `text` that fits; or what does not fit, and where. Fences and prose around a value are dropped;
    /// nothing is ever added or closed.
    pub(crate) fn fit(&self, text: &str) -> std::result::Result<Value, Vec<String>> {
        let mut problems = None;
        for value in values(text) {
            match self.problems(&value) {
                found if found.is_empty() => return Ok(value),
                found => problems = problems.or(Some(found)),
            }
        }
        Err(problems.unwrap_or_else(|| vec!["it is not JSON".to_owned()]))
    }

    fn problems(&self, value: &Value) -> Vec<String> {
        let told = |error: jsonschema::ValidationError<'_>| {
            let path = error.instance_path().to_string();
            let path = if path.is_empty() { "the value" } else { path.as_str() };
            crate::failure::in_words(&format!("{path}: {}", error.masked()))
        };
        self.validator.iter_errors(value).take(MAX_PROBLEMS).map(told).collect()
    }
}

/// The JSON values that `text` may be meant to be: all of it, else those that begin somewhere in it.
fn values(text: &str) -> impl Iterator<Item = Value> {
    let whole = serde_json::from_str(text.trim()).ok();
    let starts = text.match_indices(['{', '[']).take(if whole.is_none() { MAX_STARTS } else { 0 });
    let within = starts.filter_map(|(start, _)| {
        let mut values = serde_json::Deserializer::from_str(text.get(start..)?).into_iter::<Value>();
        values.next()?.ok()
    });
    whole.into_iter().chain(within)
}

/// Whether a `$ref` or its kin is in it, as a keyword or, which nobody will miss, as the name of a property.
fn has_reference(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_reference),
        Value::Object(map) => map.iter().any(|(key, inner)| {
            matches!(key.as_str(), "$ref" | "$dynamicRef" | "$recursiveRef") || has_reference(inner)
        }),
        _ => false,
    }
}

fn depth(value: &Value) -> usize {
    let inner = match value {
        Value::Array(items) => items.iter().map(depth).max(),
        Value::Object(map) => map.values().map(depth).max(),
        _ => None,
    };
    1 + inner.unwrap_or(0)
}

/// The schema with only those keywords that `keep` says.
fn thinned(schema: &Value, keep: &impl Fn(&str, &Value) -> bool) -> Value {
    let Value::Object(map) = schema else { return schema.clone() };
    let mut thin = Map::new();
    for (keyword, value) in map {
        if keyword == "const" && !keep(keyword, value) {
            // One allowed value is an enum of one.
            thin.insert("enum".to_owned(), json!([value]));
        } else if keep(keyword, value) {
            thin.insert(keyword.clone(), inner(keyword, value, keep));
        }
    }
    Value::Object(thin)
}

fn inner(keyword: &str, value: &Value, keep: &impl Fn(&str, &Value) -> bool) -> Value {
    match value {
        _ if DATA.contains(&keyword) => value.clone(),
        Value::Object(by_name) if MAPS.contains(&keyword) => {
            by_name.iter().map(|(name, schema)| (name.clone(), thinned(schema, keep))).collect::<Map<_, _>>().into()
        }
        Value::Array(schemas) => schemas.iter().map(|schema| thinned(schema, keep)).collect(),
        _ => thinned(value, keep),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(schema: Value) -> Form {
        Form::compile(schema.as_object().expect("an object").clone()).expect("a schema")
    }

    fn refused(schema: Value) -> String {
        let error = Form::compile(schema.as_object().expect("an object").clone()).err().expect("no schema");
        error.message().to_owned()
    }

    #[test]
    fn a_value_is_found_in_fences_and_prose() {
        let form = form(json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}));
        for text in
            ["{\"a\": 1}", "```json\n{\"a\": 1}\n```", "Sure [as asked]: {\"a\": 1} Enjoy!", "{\"b\": 0} {\"a\": 1}"]
        {
            assert_eq!(form.fit(text), Ok(json!({"a": 1})), "{text}");
        }
    }

    #[test]
    fn nothing_is_invented() {
        let form = form(json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}}));
        assert_eq!(form.fit("{\"a\": 1"), Err(vec!["it is not JSON".to_owned()]));
        assert_eq!(form.fit("{\"a\": \"x\"}"), Err(vec!["/a: value is not of type \"integer\"".to_owned()]));
        assert_eq!(form.fit("{}"), Err(vec!["the value: \"a\" is a required property".to_owned()]));
    }

    #[test]
    fn a_schema_is_bounded_and_stays_at_home() {
        assert!(refused(json!({"description": "x".repeat(MAX_BYTES)})).contains("at most 65536"));
        let deep = (0..40).fold(json!({}), |inner, _| json!({"items": inner}));
        assert!(refused(deep).contains("nested more than 32 deep (at /options/schema)"));
        assert!(refused(json!({"$ref": "http://127.0.0.1:1/x.json"})).contains("must hold no references"));
        let bomb = json!({"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}], "$defs": {"a": {"type": "null"}}});
        assert!(refused(bomb).contains("must hold no references"));
        let message = refused(json!({"properties": {"a": {"type": "objekt"}}}));
        assert!(message.contains("(at /options/schema/properties/a/type)"), "{message}");
    }

    #[test]
    fn a_pattern_takes_linear_time() {
        assert!(refused(json!({"pattern": "^(?=a)a$"})).contains("is no usable JSON schema"));
        let form = form(json!({"type": "string", "pattern": "^(a+)+$"}));
        assert!(form.fit(&json!(format!("{}!", "a".repeat(100_000))).to_string()).is_err());
    }

    #[test]
    fn backends_are_spared_what_they_misread() {
        let form = form(json!({
            "type": "object",
            "properties": {"not": {"type": "string", "maxLength": 100_000, "minLength": 3, "pattern": "a"}},
            "not": {"required": ["x"]},
            "anyOf": [{"const": {"not": 1}}, {"not": {}}],
        }));
        let expected = json!({
            "type": "object",
            "properties": {"not": {"type": "string", "minLength": 3}},
            "anyOf": [{"const": {"not": 1}}, {}],
        });
        assert_eq!(form.for_grammar(), expected);
        let expected = json!({
            "type": "object",
            "properties": {"not": {"type": "string"}},
            "anyOf": [{"enum": [{"not": 1}]}, {}],
        });
        assert_eq!(form.for_gemini(), expected);
    }
}
