//! The tools that an Arc offers.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use rmcp::model::{JsonObject, Tool};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use spec::caller::ArgumentProblem;

use crate::call::Call;
use crate::error::{Error, Result};

/// The Arc's state, shared by all calls.
pub type Shared<S> = Arc<S>;

type Run = dyn Fn(Call, Value) -> BoxFuture<'static, Result<Value>> + Send + Sync;

/// The tools that an Arc offers, in the order in which they were added.
pub struct Server<S> {
    state: Shared<S>,
    tools: Vec<Offered>,
}

/// A tool with what is needed to call it.
pub(crate) struct Offered {
    pub(crate) tool: Tool,
    arguments: jsonschema::Validator,
    run: Box<Run>,
}

impl<S: Send + Sync + 'static> Server<S> {
    /// A server with no tools yet.
    pub fn new(state: S) -> Self {
        Self { state: Arc::new(state), tools: Vec::new() }
    }

    /// Offers a tool. `name` is its short name (`get` for `kv.get`); `description` is for people and models. The
    /// arguments' schema is made from `A`, which must be a struct with named fields: their order is the order of
    /// positional parameters, and fields that it does not have are refused.
    #[must_use]
    pub fn tool<A, R, F, Fut>(mut self, name: &'static str, description: &'static str, function: F) -> Self
    where
        A: DeserializeOwned + JsonSchema + Send + 'static,
        R: Serialize + JsonSchema,
        F: Fn(Shared<S>, Call, A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R>> + Send + 'static,
    {
        let state = self.state.clone();
        let function = Arc::new(function);
        let run: Box<Run> = Box::new(move |call, arguments| {
            let (state, function) = (state.clone(), function.clone());
            Box::pin(async move { write(&function(state, call, read(arguments)?).await?) })
        });
        self.tools.push(Offered::new(name, description, &argument_schema::<A>(), result_schema::<R>(), run));
        self
    }

    pub(crate) fn into_tools(self) -> Vec<Offered> {
        self.tools
    }
}

impl Offered {
    fn new(
        name: &'static str,
        description: &'static str,
        input: &Schema,
        output: Option<Schema>,
        run: Box<Run>,
    ) -> Self {
        // Both come from a type's schema, so a schema that is none is a fault of this program, found by its first test.
        let arguments = jsonschema::validator_for(input.as_value()).unwrap_or_else(|error| {
            panic!("the schema of {name} cannot be used: {error}");
        });
        let mut tool = Tool::new(name, description, object(input));
        tool.output_schema = output.as_ref().map(|schema| Arc::new(object(schema)));
        Self { tool, arguments, run }
    }

    /// Checks the arguments against the schema, then calls the tool.
    pub(crate) async fn call(&self, call: Call, arguments: Value) -> Result<Value> {
        let found: Vec<ArgumentProblem> =
            self.arguments.iter_errors(&arguments).flat_map(|error| problems(&error)).collect();
        if found.is_empty() { (self.run)(call, arguments).await } else { Err(Error::invalid_all(found)) }
    }
}

/// What is wrong, each with the path of the argument that it is about, also where that is missing or too many.
fn problems(error: &ValidationError<'_>) -> Vec<ArgumentProblem> {
    let within = |key: &str| format!("{}/{}", error.instance_path(), key.replace('~', "~0").replace('/', "~1"));
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            let path = property.as_str().map_or_else(String::new, within);
            vec![ArgumentProblem { path, message: error.to_string() }]
        }
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let told = |key: &String| ArgumentProblem { path: within(key), message: format!("'{key}' was unexpected") };
            unexpected.iter().map(told).collect()
        }
        _ => vec![ArgumentProblem { path: error.instance_path().to_string(), message: error.to_string() }],
    }
}

fn object(schema: &Schema) -> JsonObject {
    schema.as_object().cloned().unwrap_or_default()
}

fn argument_schema<A: JsonSchema>() -> Schema {
    let mut schema = generator().into_root_schema_for::<A>();
    schema.remove("$schema");
    schema.remove("title");
    if schema.get("properties").is_none() {
        schema.insert("type".to_owned(), "object".into());
    }
    schema.insert("additionalProperties".to_owned(), false.into());
    schema
}

/// The schema of a result; `None` where anything may come.
fn result_schema<R: JsonSchema>() -> Option<Schema> {
    let mut schema = generator().into_root_schema_for::<R>();
    schema.remove("$schema");
    schema.remove("title");
    schema.as_object().is_some_and(|object| !object.is_empty()).then_some(schema)
}

fn generator() -> schemars::SchemaGenerator {
    // One self-contained schema each: small models and simple clients do not follow references.
    SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true).into_generator()
}

fn read<A: DeserializeOwned>(arguments: Value) -> Result<A> {
    serde_path_to_error::deserialize(arguments).map_err(|error| {
        let path = error.path().to_string().replace('.', "/");
        Error::invalid(if path.is_empty() { path } else { format!("/{path}") }, error.into_inner().to_string())
    })
}

fn write(result: &impl Serialize) -> Result<Value> {
    serde_json::to_value(result).map_err(|error| Error::new("the result cannot be written").caused_by(error))
}
