//! The llmbasedos dialect: `mcp.<namespace>.<tool>` with positional parameters, bare results, plain errors.
//!
//! Framing is not its business (`frame`); which requests are the dialect's is told by the method alone.

use serde_json::value::RawValue;
use spec::caller::{ArgumentProblem, FAILURE_KEY, Failure, code};
use tokio_util::bytes::Bytes;

use crate::message::{Fault, part};
use crate::outcome::Outcome;
use crate::schema::Parameter;

/// What the methods of the dialect begin with.
pub(crate) const PREFIX: &str = "mcp.";

/// The dialect's own methods, beside the tools.
pub(crate) const HELLO: &str = "mcp.hello";
/// The other one.
pub(crate) const LIST_CAPABILITIES: &str = "mcp.listCapabilities";

/// Brings `params` into the form of named arguments, a JSON object.
///
/// A positional array is mapped by the order of `parameters`; a single object in it is the named arguments, unless the
/// first parameter may itself be an object.
pub(crate) fn arguments(params: Option<&Bytes>, tool: &str, parameters: &[Parameter]) -> Result<Bytes, Fault> {
    let Some(params) = params else { return Ok(Bytes::from_static(b"{}")) };
    match params.first() {
        Some(b'{') => return Ok(params.clone()),
        Some(b'[') => {}
        _ => return Err(Fault::new(code::INVALID_PARAMS, "params must be an array or an object")),
    }
    let values: Vec<&RawValue> = serde_json::from_slice(params)
        .map_err(|error| Fault::new(code::INVALID_PARAMS, format!("params cannot be read: {error}")))?;
    if let [only] = values.as_slice()
        && only.get().starts_with('{')
        && !parameters.first().is_some_and(|first| first.takes_object)
    {
        return Ok(part(params, only));
    }
    if values.len() > parameters.len() {
        return Err(too_many(tool, values.len(), parameters));
    }
    let mut named = Vec::with_capacity(params.len() + 16 * values.len() + 2);
    for (parameter, value) in parameters.iter().zip(values) {
        named.push(if named.is_empty() { b'{' } else { b',' });
        serde_json::to_writer(&mut named, &parameter.name)
            .map_err(|error| Fault::new(code::INTERNAL, format!("a parameter's name cannot be written: {error}")))?;
        named.push(b':');
        named.extend_from_slice(value.get().as_bytes());
    }
    if named.is_empty() {
        named.push(b'{');
    }
    named.push(b'}');
    Ok(named.into())
}

fn too_many(tool: &str, given: usize, parameters: &[Parameter]) -> Fault {
    let names: Vec<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    let takes = if names.is_empty() { "none".to_owned() } else { format!("[{}]", names.join(", ")) };
    let message = format!("{tool} was given {given} parameters and takes {takes}");
    let first_extra = ArgumentProblem { path: format!("/{}", names.len()), message: "one too many".to_owned() };
    Fault::new(code::INVALID_PARAMS, message).with_data(&serde_json::json!({ "problems": [first_extra] }))
}

/// The bare result of a tool, as JSON: its structured content, else its text as JSON if it is some, else as a string.
pub(crate) fn bare_result(outcome: &Outcome<'_>) -> Result<Vec<u8>, Fault> {
    if outcome.is_error {
        return Err(failure(outcome));
    }
    if let Some(structured) = outcome.structured {
        return Ok(structured.get().as_bytes().to_vec());
    }
    let Some(text) = outcome.text() else {
        return Ok(outcome.content.map_or("null", RawValue::get).as_bytes().to_vec());
    };
    if serde_json::from_str::<&RawValue>(&text).is_ok() {
        return Ok(text.trim_ascii().replace(['\n', '\r'], " ").into_bytes());
    }
    serde_json::to_vec(&text)
        .map_err(|error| Fault::new(code::INTERNAL, format!("the result cannot be written: {error}")))
}

/// The error of a tool that failed.
pub(crate) fn failure(outcome: &Outcome<'_>) -> Fault {
    match outcome.failure() {
        Some(Failure { code, message, problems }) if problems.is_empty() => Fault::new(code, message),
        Some(Failure { code, message, problems }) => {
            Fault::new(code, message).with_data(&serde_json::json!({ "problems": problems }))
        }
        None => {
            let text = outcome.text().filter(|text| !text.is_empty());
            Fault::new(
                code::INTERNAL,
                text.unwrap_or_else(|| format!("the tool failed without a word ({FAILURE_KEY})")),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(names: &[(&str, bool)]) -> Vec<Parameter> {
        names.iter().map(|&(name, takes_object)| Parameter { name: name.to_owned(), takes_object }).collect()
    }

    fn mapped(params: Option<&str>, names: &[(&str, bool)]) -> Result<String, String> {
        let params = params.map(|params| Bytes::copy_from_slice(params.as_bytes()));
        arguments(params.as_ref(), "kv.set", &parameters(names))
            .map(|bytes| String::from_utf8(bytes.to_vec()).expect("UTF-8"))
            .map_err(|fault| format!("{} {}", fault.code, fault.message))
    }

    /// Params, the tool's parameters with whether they take objects, and the named arguments.
    type Case = (Option<&'static str>, &'static [(&'static str, bool)], &'static str);

    #[test]
    fn positions_are_mapped_by_the_order_of_the_schema() {
        let set: &[_] = &[("key", false), ("value", true), ("ttl_s", false)];
        let chat: &[_] = &[("messages", false), ("options", true)];
        let put: &[_] = &[("document", true)];
        let table: [Case; 12] = [
            (None, set, "{}"),
            (Some("[]"), set, "{}"),
            (Some("{\"key\":1}"), set, "{\"key\":1}"),
            (Some("[\"a\", {\"b\": 1}]"), set, "{\"key\":\"a\",\"value\":{\"b\": 1}}"),
            (Some("[\"a\", null, 3]"), set, "{\"key\":\"a\",\"value\":null,\"ttl_s\":3}"),
            (Some("[ {\"key\":\"a\"} ]"), set, "{\"key\":\"a\"}"),
            (
                Some("[[{\"role\":\"user\"}],{\"t\":0}]"),
                chat,
                "{\"messages\":[{\"role\":\"user\"}],\"options\":{\"t\":0}}",
            ),
            (Some("[{\"messages\":[]}]"), chat, "{\"messages\":[]}"),
            (Some("[{\"a\":1}]"), put, "{\"document\":{\"a\":1}}"),
            (Some("[{\"a\":1}]"), &[], "{\"a\":1}"),
            (Some("[\"a\\\"b\"]"), &[("odd \"name\"", false)], "{\"odd \\\"name\\\"\":\"a\\\"b\"}"),
            (Some("[]"), &[], "{}"),
        ];
        for (params, names, expected) in table {
            assert_eq!(mapped(params, names).as_deref(), Ok(expected), "{params:?}");
        }
    }

    #[test]
    fn too_many_positions_name_the_parameters() {
        let refusal = mapped(Some("[1,2,3]"), &[("key", false), ("value", true)]).expect_err("too many");
        assert_eq!(refusal, "-32602 kv.set was given 3 parameters and takes [key, value]");
        assert_eq!(mapped(Some("[1]"), &[]).expect_err("none"), "-32602 kv.set was given 1 parameters and takes none");
        assert_eq!(mapped(Some("7"), &[]).expect_err("none"), "-32602 params must be an array or an object");
    }

    fn bare(result: &str) -> Result<String, (i32, String)> {
        let outcome = Outcome::read(result.as_bytes()).expect("a result");
        let text = bare_result(&outcome).map_err(|fault| (fault.code, fault.message))?;
        Ok(String::from_utf8(text).expect("UTF-8"))
    }

    #[test]
    fn results_are_bare() {
        let table = [
            (r#"{"content":[{"type":"text","text":"x"}],"structuredContent":null}"#, "null"),
            (r#"{"content":[],"structuredContent":{"status":"ok"}}"#, r#"{"status":"ok"}"#),
            (r#"{"content":[{"type":"text","text":"{\n\"a\":1}"}]}"#, r#"{ "a":1}"#),
            (r#"{"content":[{"type":"text","text":"words"}]}"#, r#""words""#),
            (r#"{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#, r#""a\nb""#),
            (r#"{"content":[{"type":"image","data":""}]}"#, r#"[{"type":"image","data":""}]"#),
            (r"{}", "null"),
        ];
        for (result, expected) in table {
            assert_eq!(bare(result).as_deref(), Ok(expected), "{result}");
        }
    }

    #[test]
    fn a_failed_tool_is_an_error_with_its_code() {
        let with_code =
            r#"{"isError":true,"content":[],"_meta":{"llmbasedos/failure":{"code":-32003,"message":"no budget"}}}"#;
        assert_eq!(bare(with_code), Err((-32003, "no budget".to_owned())));
        let plain = r#"{"isError":true,"content":[{"type":"text","text":"disk full"}]}"#;
        assert_eq!(bare(plain), Err((code::INTERNAL, "disk full".to_owned())));
    }
}
