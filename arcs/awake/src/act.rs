//! Acting: the steps of a Sentinel, with their arguments filled in.

use kit::{Error, Result, Sentinel, Step, code};
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, UndefinedBehavior};
use serde_json::{Map, Value, json};

use crate::world::{Tools, call_within};

/// What the steps did.
#[derive(Debug, PartialEq)]
pub(crate) struct Done {
    /// The tool of the last step.
    pub(crate) action: String,
    /// What the last step returned.
    pub(crate) details: Value,
}

/// Why the steps came to no end.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: Error,
    /// How many steps were done before; they stay done.
    pub(crate) done: usize,
}

/// Runs the steps of `sentinel`. Their templates know `topic`, `today` (`2026-11-23`), `sentinel` (`name`, `description`,
/// `persona`, `goal`) and `steps`, the results of those before by their names.
///
/// # Errors
/// A step may not be done, its arguments cannot be made, or its tool fails.
pub(crate) async fn act(tools: &impl Tools, sentinel: &Sentinel, topic: &str, today: &str) -> Result<Done, Failed> {
    let mut known = json!({
        "topic": topic,
        "today": today,
        "sentinel": {
            "name": sentinel.name,
            "description": sentinel.description,
            "persona": sentinel.persona,
            "goal": sentinel.goal,
        },
        "steps": {},
    });
    let mut done = Done { action: String::new(), details: Value::Null };
    for (before, step) in sentinel.steps.iter().enumerate() {
        let details = take(tools, sentinel, step, &known).await.map_err(|error| Failed { error, done: before })?;
        if let Some(steps) = known.get_mut("steps").and_then(Value::as_object_mut) {
            steps.insert(step.name.to_string(), details.clone());
        }
        done = Done { action: step.tool.to_string(), details };
    }
    Ok(done)
}

/// Takes one step with what is `known` so far.
async fn take(tools: &impl Tools, sentinel: &Sentinel, step: &Step, known: &Value) -> Result<Value> {
    let tool = step.tool.as_str();
    if !sentinel.tools.iter().any(|pattern| pattern.matches(tool)) {
        let message = format!("{} may not call {tool}: it is not among its tools", sentinel.name);
        return Err(Error::new(message).with_code(code::PERMISSION));
    }
    let args = arguments(step, known).map_err(|problem| Error::new(format!("{}: {problem}", sentinel.name)))?;
    run(tools, step, &args).await
}

/// Calls the tool of a step, again as often as the step says where it did not come to an end of its own.
async fn run(tools: &impl Tools, step: &Step, args: &Value) -> Result<Value> {
    let tool = step.tool.as_str();
    let mut left = step.retry;
    loop {
        match call_within(tools, tool, args, step.timeout).await {
            // Other codes tell of arguments, permissions, budgets, models: the same call would fail the same way.
            Err(error) if error.code() == code::INTERNAL && left > 0 => {
                tracing::warn!(step = %step.name, %error, "the step failed and is tried again");
                left -= 1;
            }
            result => return result,
        }
    }
}

/// Reads every template of a Sentinel without filling it in.
///
/// # Errors
/// Names the step and the argument.
pub(crate) fn check_templates(sentinel: &Sentinel) -> std::result::Result<(), String> {
    let environment = environment();
    for step in &sentinel.steps {
        walk(&args_of(step), "args", &mut |path, text| match environment.template_from_str(text) {
            Ok(_) => Ok(Value::Null),
            Err(error) => Err(format!("step {}: {path}: {error}", step.name)),
        })?;
    }
    Ok(())
}

/// The arguments of a step, every string in them filled in.
fn arguments(step: &Step, known: &Value) -> std::result::Result<Value, String> {
    let environment = environment();
    walk(&args_of(step), "args", &mut |path, text| {
        let fault = |why: String| format!("step {}: {path}: {why}", step.name);
        let template = environment.template_from_str(text).map_err(|error| fault(error.to_string()))?;
        template.render(Serde(known)).map(Value::String).map_err(|error| match error.kind() {
            ErrorKind::UndefinedError => {
                let mut unknown: Vec<String> =
                    template.undeclared_variables(true).into_iter().filter(|name| !is_known(name, known)).collect();
                unknown.sort();
                fault(format!("nothing is called {}. Known are: {}", unknown.join(", "), names(known)))
            }
            _ => fault(error.to_string()),
        })
    })
}

fn args_of(step: &Step) -> Value {
    Value::Object(step.args.iter().map(|(key, value)| (key.clone(), to_json(value))).collect())
}

/// TOML as JSON; dates, which JSON lacks, become strings.
fn to_json(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => (*number).into(),
        toml::Value::Boolean(value) => (*value).into(),
        toml::Value::Datetime(date) => date.to_string().into(),
        toml::Value::Array(items) => items.iter().map(to_json).collect(),
        toml::Value::Table(table) => table.iter().map(|(key, value)| (key.clone(), to_json(value))).collect(),
    }
}

/// The value with `change` done to each string in it; `path` says where one stands: `args.tags[0]`.
fn walk(
    value: &Value,
    path: &str,
    change: &mut impl FnMut(&str, &str) -> std::result::Result<Value, String>,
) -> std::result::Result<Value, String> {
    match value {
        Value::String(text) => change(path, text),
        Value::Array(items) => {
            let each = |(index, item): (usize, &Value)| walk(item, &format!("{path}[{index}]"), change);
            items.iter().enumerate().map(each).collect::<std::result::Result<Vec<_>, _>>().map(Value::Array)
        }
        Value::Object(members) => {
            let each =
                |(key, member): (&String, &Value)| Ok((key.clone(), walk(member, &format!("{path}.{key}"), change)?));
            members.iter().map(each).collect::<std::result::Result<Map<_, _>, String>>().map(Value::Object)
        }
        other => Ok(other.clone()),
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
}

/// Whether a dotted name stands for something.
fn is_known(name: &str, known: &Value) -> bool {
    name.split('.').try_fold(known, |value, part| value.get(part)).is_some()
}

fn names(known: &Value) -> String {
    known.as_object().map(|members| members.keys().cloned().collect::<Vec<_>>().join(", ")).unwrap_or_default()
}
