//! JSON-RPC 2.0 as spoken on `init.sock` and on the control channel: text in, a call out, and the other way round.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use spec::Name;
use spec::caller::code;
use spec::control::{self, ByName, Certificate, Code, LogQuery};

use crate::supervisor::Question;
use crate::sys::Halt;

/// A call that init understands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    Services,
    Status,
    Metrics,
    Start(Name),
    Stop(Name),
    Restart(Name),
    Logs(LogQuery),
    Unfollow,
    Cages,
    Cage(Name),
    NetworkSocket(Name),
    SecretSet(Name),
    SecretList,
    SecretDelete(Name),
    Wifi(Question),
    SetupCode,
    SetupCodeWithdraw,
    Claim(Code),
    ClaimUsed,
    Certificate(Certificate),
    End(Halt),
}

/// A call with the id under which it is answered; a notification has none.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) id: Option<Value>,
    pub(crate) call: Call,
}

/// Why a request is not carried out, and what the caller is told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    /// `null` where the request's own could not be read.
    pub(crate) id: Value,
    pub(crate) code: i32,
    pub(crate) message: String,
}

const METHODS: [&str; 24] = [
    control::SERVICES,
    control::STATUS,
    control::METRICS,
    control::START,
    control::STOP,
    control::RESTART,
    control::LOGS,
    control::UNFOLLOW,
    control::CAGES,
    control::CAGE,
    control::NETWORK_SOCKET,
    control::SECRET_SET,
    control::SECRET_LIST,
    control::SECRET_DELETE,
    control::WIFI_SCAN,
    control::WIFI_JOIN,
    control::WIFI_FORGET,
    control::SETUP_CODE,
    control::SETUP_CODE_WITHDRAW,
    control::CLAIM,
    control::CLAIM_USED,
    control::CERTIFICATE,
    control::POWEROFF,
    control::REBOOT,
];

/// Reads one line. serde_json bounds the depth of nesting (128); the caller bounds the length.
pub(crate) fn parse(line: &[u8]) -> Result<Request, Refusal> {
    let refuse = |id: Value, code, message: String| Refusal { id, code, message };
    let value: Value = serde_json::from_slice(line)
        .map_err(|error| refuse(Value::Null, code::PARSE, format!("the line is not JSON: {error}")))?;
    let Value::Object(mut object) = value else {
        let message = "must be an object with method and params; batches are not spoken here";
        return Err(refuse(Value::Null, code::INVALID_REQUEST, message.to_owned()));
    };
    let id = object.remove("id");
    if !matches!(id, None | Some(Value::Null | Value::Number(_) | Value::String(_))) {
        return Err(refuse(Value::Null, code::INVALID_REQUEST, "id must be a number or a string".to_owned()));
    }
    let answer_to = id.clone().unwrap_or_default();
    let Some(Value::String(method)) = object.remove("method") else {
        return Err(refuse(answer_to, code::INVALID_REQUEST, "method must be a string".to_owned()));
    };
    let params = object.remove("params");
    let call = call(&method, params).map_err(|(code, message)| refuse(answer_to, code, message))?;
    Ok(Request { id, call })
}

fn call(method: &str, params: Option<Value>) -> Result<Call, (i32, String)> {
    let by_name = |params| read::<ByName>(method, params).map(|params| params.name);
    match method {
        control::SERVICES => Ok(Call::Services),
        control::STATUS => Ok(Call::Status),
        control::METRICS => Ok(Call::Metrics),
        control::START => by_name(params).map(Call::Start),
        control::STOP => by_name(params).map(Call::Stop),
        control::RESTART => by_name(params).map(Call::Restart),
        control::LOGS => read(method, params).map(Call::Logs),
        control::UNFOLLOW => Ok(Call::Unfollow),
        control::CAGES => Ok(Call::Cages),
        control::CAGE => by_name(params).map(Call::Cage),
        control::NETWORK_SOCKET => by_name(params).map(Call::NetworkSocket),
        control::SECRET_SET => by_name(params).map(Call::SecretSet),
        control::SECRET_LIST => Ok(Call::SecretList),
        control::SECRET_DELETE => by_name(params).map(Call::SecretDelete),
        control::WIFI_SCAN => Ok(Call::Wifi(Question::Scan)),
        control::WIFI_JOIN => read(method, params).map(|join| Call::Wifi(Question::Join(join))),
        control::WIFI_FORGET => read(method, params).map(|by_ssid| Call::Wifi(Question::Forget(by_ssid))),
        control::SETUP_CODE => Ok(Call::SetupCode),
        control::SETUP_CODE_WITHDRAW => Ok(Call::SetupCodeWithdraw),
        control::CLAIM => read(method, params).map(Call::Claim),
        control::CLAIM_USED => Ok(Call::ClaimUsed),
        control::CERTIFICATE => read(method, params).map(Call::Certificate),
        control::POWEROFF => Ok(Call::End(Halt::PowerOff)),
        control::REBOOT => Ok(Call::End(Halt::Reboot)),
        _ => Err((code::METHOD_NOT_FOUND, unknown("method", method, METHODS))),
    }
}

fn read<T: DeserializeOwned>(method: &str, params: Option<Value>) -> Result<T, (i32, String)> {
    let params = params.filter(|params| !params.is_null()).unwrap_or_else(|| Value::Object(Map::new()));
    if !params.is_object() {
        return Err((code::INVALID_PARAMS, format!("params of {method} must be an object")));
    }
    serde_json::from_value(params).map_err(|error| (code::INVALID_PARAMS, format!("params of {method}: {error}")))
}

/// `there is no service kw. Close to it: kv`, with what was asked for cut to a bearable length.
pub(crate) fn unknown<'c>(what: &str, name: &str, known: impl IntoIterator<Item = &'c str>) -> String {
    let name: String = name.chars().take(80).collect();
    format!("there is no {what} {name}{}", spec::close_to(&name, known))
}

/// The answer to a call.
pub(crate) fn answer(id: &Value, result: impl Serialize) -> String {
    line(&json!({ "jsonrpc": "2.0", "id": id, "result": to_value(result) }))
}

/// The answer to a call that was not carried out.
pub(crate) fn refuse(refusal: &Refusal) -> String {
    let error = json!({ "code": refusal.code, "message": refusal.message });
    line(&json!({ "jsonrpc": "2.0", "id": refusal.id, "error": error }))
}

/// A question, asked by init itself.
pub(crate) fn request(id: u64, method: &str, params: impl Serialize) -> String {
    line(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": to_value(params) }))
}

/// A message that nobody asked for.
pub(crate) fn notification(method: &str, params: impl Serialize) -> String {
    line(&json!({ "jsonrpc": "2.0", "method": method, "params": to_value(params) }))
}

/// All types that are sent are maps with text keys and so always have a JSON form.
fn to_value(value: impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

fn line(value: &Value) -> String {
    format!("{value}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: impl AsRef<[u8]>) -> (Value, i32, String) {
        let refusal = parse(line.as_ref()).expect_err("refused");
        (refusal.id, refusal.code, refusal.message)
    }

    #[test]
    fn calls_are_read() {
        let request = parse(br#"{"jsonrpc":"2.0","id":7,"method":"stop","params":{"name":"kv"}}"#).expect("a call");
        assert_eq!(request, Request { id: Some(json!(7)), call: Call::Stop("kv".parse().expect("a name")) });
        let request = parse(br#"{"method":"logs"}"#).expect("a notification");
        assert_eq!(request, Request { id: None, call: Call::Logs(LogQuery::default()) });
    }

    #[test]
    fn each_way_of_being_wrong_has_its_code_and_words() {
        let nested = "[".repeat(60_000);
        assert_eq!(refused(nested).1, code::PARSE);
        assert_eq!(refused([0xff, 0xfe]).1, code::PARSE);
        assert_eq!(refused("[]").1, code::INVALID_REQUEST);
        assert_eq!(refused(r#"{"id":{},"method":"services"}"#).1, code::INVALID_REQUEST);
        assert_eq!(refused(r#"{"id":1,"method":5}"#), (json!(1), -32600, "method must be a string".to_owned()));
        let expected = "there is no method service. Close to it: services".to_owned();
        assert_eq!(refused(r#"{"id":"a","method":"service"}"#), (json!("a"), -32601, expected));
        assert_eq!(refused(r#"{"id":1,"method":"start","params":["kv"]}"#).2, "params of start must be an object");
        let message = refused(r#"{"id":1,"method":"start","params":{"name":"K V"}}"#).2;
        assert!(message.starts_with("params of start: must be 1 to 64 lower-case letters"), "{message}");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}
