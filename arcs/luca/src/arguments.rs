//! From what was written to what is asked: words and positions become named arguments by the tool's schema.

use serde_json::{Map, Value};

use crate::catalogue::{Catalogue, Tool};
use crate::failure::Error;
use crate::message::Request;
use crate::schema::Kinds;
use crate::words::{Given, Word};

/// The request for `method`, written with or without `mcp.`, with what was given.
///
/// A tool that the catalogue knows is called by named arguments. What it does not know (an alias, a method of the
/// dialect such as `hello`, a tool that is not there) goes to the gateway in the dialect as it was written: the
/// gateway knows better, or says what is close to it. Without a catalogue named arguments, and none, are taken to be
/// for a tool.
///
/// # Errors
/// Words that cannot be mapped.
pub(crate) fn request(method: &str, given: Given, catalogue: Option<&Catalogue>) -> Result<Request, Error> {
    let name = method.strip_prefix("mcp.").unwrap_or(method);
    if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Error::Usage(format!("{method:?} is no tool's name: one looks like kv.get")));
    }
    let is_tool = name.contains('.') && catalogue.is_none_or(|catalogue| catalogue.get(name).is_some());
    let in_dialect = |params: Value| Request::Method { name: format!("mcp.{name}"), params };
    let tool = |arguments| Request::Tool { name: name.to_owned(), arguments };
    Ok(match (given, catalogue.and_then(|catalogue| catalogue.get(name))) {
        (Given::Nothing, _) if is_tool => tool(Map::new()),
        (Given::Nothing, _) => in_dialect(Value::Array(Vec::new())),
        (Given::Json(Value::Object(named)), _) if is_tool => tool(named),
        (Given::Json(Value::Array(values)), _) if is_tool && values.is_empty() => tool(Map::new()),
        (Given::Json(Value::Array(values)), Some(known)) => tool(named_by_position(known, values)?),
        (Given::Json(params), _) => in_dialect(params),
        (Given::Words(words), Some(known)) => tool(named_by_words(known, &words)?),
        (Given::Words(words), None) => in_dialect(untyped(&words)),
    })
}

/// Positional parameters as named ones. One object alone is the named arguments themselves, unless the tool's first
/// argument is an object.
fn named_by_position(tool: &Tool, mut values: Vec<Value>) -> Result<Map<String, Value>, Error> {
    let takes_object = tool.arguments.first().is_some_and(|first| first.kinds.name_objects());
    if let [Value::Object(named)] = values.as_mut_slice()
        && !takes_object
    {
        return Ok(std::mem::take(named));
    }
    if values.len() > tool.arguments.len() {
        return Err(too_many(tool, values.len()));
    }
    let names = tool.arguments.iter().map(|argument| argument.name.clone());
    Ok(names.zip(values).collect())
}

/// `name=value` by name, other words by position among the arguments that are not named.
fn named_by_words(tool: &Tool, words: &[Word]) -> Result<Map<String, Value>, Error> {
    let mut named = Map::new();
    let mut positional = Vec::new();
    for word in words {
        match word.assignment() {
            Some((name, value)) => {
                let argument = tool.argument(name).ok_or_else(|| unknown(tool, name))?;
                named.insert(name.to_owned(), typed(&value, &argument.kinds));
            }
            None => positional.push(word),
        }
    }
    let free: Vec<_> = tool.arguments.iter().filter(|argument| !named.contains_key(&argument.name)).collect();
    if positional.len() > free.len() {
        return Err(too_many(tool, words.len()));
    }
    let by_position =
        free.iter().zip(positional).map(|(argument, word)| (argument.name.clone(), typed(word, &argument.kinds)));
    let by_position: Vec<_> = by_position.collect();
    named.extend(by_position);
    Ok(named)
}

/// The word as JSON where the schema takes what it then is, else as text; text also where it was quoted and text fits.
///
/// A word that fits no way is sent as text: the tool's own schema then says what is wrong, and where.
fn typed(word: &Word, kinds: &Kinds) -> Value {
    let text = || Value::String(word.text.clone());
    if kinds.are_text() || (word.is_quoted() && kinds.admit(&text())) {
        return text();
    }
    // A number that JSON's readers would round is none.
    let is_kept = |value: &Value| !value.is_f64() || word.text.contains(['.', 'e', 'E']);
    serde_json::from_str(&word.text).ok().filter(|value| kinds.admit(value) && is_kept(value)).unwrap_or_else(text)
}

/// Words for a tool whose schema is not known: an object where all are `name=value`, else an array.
fn untyped(words: &[Word]) -> Value {
    let value = |word: &Word| typed(word, &Kinds::default());
    let named: Option<Map<String, Value>> =
        words.iter().map(|word| word.assignment().map(|(name, word)| (name.to_owned(), value(&word)))).collect();
    named.map_or_else(|| Value::Array(words.iter().map(value).collect()), Value::Object)
}

fn too_many(tool: &Tool, given: usize) -> Error {
    let names: Vec<&str> = tool.arguments.iter().map(|argument| argument.name.as_str()).collect();
    let takes = match names.as_slice() {
        [] => "no arguments".to_owned(),
        [one] => format!("one argument, {one}"),
        many => format!("{} arguments at most: {}", many.len(), many.join(", ")),
    };
    Error::Usage(format!("{} takes {takes}; {given} were given. Text with blanks needs quotes", tool.name))
}

fn unknown(tool: &Tool, name: &str) -> Error {
    let names = || tool.arguments.iter().map(|argument| argument.name.as_str());
    let mut hint = spec::close_to(name, names());
    if hint.is_empty() {
        let all = names().collect::<Vec<_>>().join(", ");
        hint = format!(". It has {}", if all.is_empty() { "none" } else { &all });
    }
    Error::Usage(format!("{} has no argument {name}{hint}", tool.name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::catalogue::tests::sample;

    fn asked(line: &str) -> Value {
        let (method, rest) = line.split_once(' ').unwrap_or((line, ""));
        let given = Given::parse(rest).expect("well written");
        match request(method, given, Some(&sample())).expect("mapped") {
            Request::Tool { name, arguments } => json!({ name: arguments }),
            Request::Method { name, params } => json!([name, params]),
        }
    }

    fn refused(line: &str) -> String {
        let (method, rest) = line.split_once(' ').unwrap_or((line, ""));
        request(method, Given::parse(rest).expect("well written"), Some(&sample())).expect_err("refused").to_string()
    }

    #[test]
    fn both_ways_of_writing_ask_the_same() {
        let expected = json!({"kv.set": {"key": "hello", "value": "world"}});
        for line in [
            r#"mcp.kv.set '["hello", "world"]'"#,
            r#"mcp.kv.set ["hello", "world"]"#,
            r#"kv.set {"key": "hello", "value": "world"}"#,
            r#"mcp.kv.set [{"key": "hello", "value": "world"}]"#,
            "kv.set hello world",
            "mcp.kv.set value=world hello",
            "kv.set key=hello value='world'",
        ] {
            assert_eq!(asked(line), expected, "{line}");
        }
    }

    #[test]
    fn words_take_the_type_of_the_schema() {
        assert_eq!(
            asked(r#"seo_affiliate.generate_site demo keyword="self custody" n_articles=3 dry=true lang=fr"#),
            json!({"seo_affiliate.generate_site":
                {"keyword": "self custody", "n_articles": 3, "dry": true, "lang": "fr", "site_id": "demo"}})
        );
        assert_eq!(asked("kv.get 5"), json!({"kv.get": {"key": "5"}}));
        assert_eq!(asked("kv.set n 5"), json!({"kv.set": {"key": "n", "value": 5}}));
        assert_eq!(asked("kv.set n '5'"), json!({"kv.set": {"key": "n", "value": "5"}}));
        assert_eq!(asked(r#"kv.set n {"a": [1]}"#), json!({"kv.set": {"key": "n", "value": {"a": [1]}}}));
        assert_eq!(asked("kv.set n x ttl_s=60"), json!({"kv.set": {"ttl_s": 60, "key": "n", "value": "x"}}));
    }

    #[test]
    fn what_does_not_fit_is_left_to_the_tool_to_refuse() {
        assert_eq!(asked("kv.set n x ttl_s=soon"), json!({"kv.set": {"ttl_s": "soon", "key": "n", "value": "x"}}));
    }

    #[test]
    fn one_object_is_the_arguments_themselves() {
        assert_eq!(asked(r#"llm.chat [{"messages": []}]"#), json!({"llm.chat": {"messages": []}}));
        assert_eq!(asked(r#"llm.chat [[1], {"a": 2}]"#), json!({"llm.chat": {"messages": [1], "options": {"a": 2}}}));
    }

    #[test]
    fn what_the_catalogue_does_not_know_goes_out_as_it_was_written() {
        assert_eq!(asked("mcp.hello"), json!(["mcp.hello", []]));
        assert_eq!(asked("kvv.get hello 3"), json!(["mcp.kvv.get", ["hello", 3]]));
        assert_eq!(
            asked("mcp.seo_aff.generate_site site_id=a"),
            json!(["mcp.seo_aff.generate_site", {"site_id": "a"}])
        );
        assert_eq!(asked(r#"kvv.get '["hello"]'"#), json!(["mcp.kvv.get", ["hello"]]));
    }

    #[test]
    fn without_a_catalogue_named_arguments_are_for_a_tool_and_positions_for_the_gateway() {
        let asked = |given| request("mcp.awake.tick", given, None).expect("mapped");
        let tool = Request::Tool { name: "awake.tick".to_owned(), arguments: Map::new() };
        assert_eq!(asked(Given::Nothing), tool);
        assert_eq!(asked(Given::Json(json!([]))), tool);
        let method = Request::Method { name: "mcp.awake.tick".to_owned(), params: json!([1]) };
        assert_eq!(asked(Given::Json(json!([1]))), method);
    }

    #[test]
    fn an_argument_that_is_not_there_is_named_with_what_is() {
        assert_eq!(refused("kv.get kee=hello"), "kv.get has no argument kee. Close to it: key");
        assert_eq!(refused("kv.get zzz=hello"), "kv.get has no argument zzz. It has key");
        assert!(refused("kv.get hello big world").starts_with("kv.get takes one argument, key; 3 were given"));
        assert!(refused(r#"kv.get [1, 2]"#).starts_with("kv.get takes one argument"));
        assert!(request("a b", Given::Nothing, None).is_err());
    }
}
