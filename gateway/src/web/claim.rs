//! Claiming the machine: a set-up code comes in, the owner's token goes out.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;
use spec::Token;
use spec::caller::code;
use spec::control::{CLAIM, CLAIM_USED, Claimed, Code, SETUP_CODE, SETUP_CODE_WITHDRAW};

use super::html::{Text, page};
use super::session;
use super::visitor::{Visitor, answer_json, fields};
use crate::gateway::Gateway;
use crate::identity::Tokens;
use crate::listener::door::Door;
use crate::message::Fault;

/// Why somebody else than the owner is refused.
const NOT_THE_OWNER: &str = "this is for the owner: enter the token first";
/// After init could not be told that the token was shown.
const PAUSE: std::time::Duration = std::time::Duration::from_secs(5);

/// `POST /claim`
pub(super) async fn claim(visitor: Visitor, body: Bytes) -> Response {
    // On loopback there is nothing to claim, which init says.
    if !visitor.is_unseen() {
        return visitor.refuse_seen();
    }
    let [entered] = fields(&visitor, &body, ["code"]).unwrap_or_default();
    if entered.trim().is_empty() {
        return visitor.refuse(StatusCode::BAD_REQUEST, "a code is wanted, in the field `code`");
    }
    // To its end also where the visitor has gone: init has given the token away by then.
    let door = Arc::clone(&visitor.door);
    let claimed = tokio::spawn(async move { give(&door, entered).await }).await;
    match claimed.unwrap_or_else(|_| Err(Fault::new(code::INTERNAL, "the claim was not answered: try again"))) {
        Ok(token) => session::keep(given(&visitor, &token), token.as_str()),
        Err(fault) => visitor.refuse(status_of(&fault), &fault.message),
    }
}

async fn give(door: &Door, entered: String) -> Result<Token, Fault> {
    let internal = |_| Fault::new(code::INTERNAL, "the gateway does not understand what init answers");
    // One at a time: whoever floods this door waits here, and not where PID 1 works.
    let Ok(_turn) = door.tokens.turn().try_acquire() else {
        return Err(Fault::new(code::RATE, "somebody else is entering a code at this moment: try again"));
    };
    let asked = serde_json::to_vec(&Code { code: entered }).map_err(internal)?;
    let answer = door.gateway.control.ask(CLAIM, &asked).await?;
    let claimed: Claimed = serde_json::from_slice(&answer).map_err(internal)?;
    let token = claimed.token.parse::<Token>().map_err(|_| Fault::new(code::INTERNAL, "init answered no token"))?;
    door.tokens.claim(&token, &door.gateway.stop);
    Ok(token)
}

fn status_of(fault: &Fault) -> StatusCode {
    match fault.code {
        code::AUTH => StatusCode::FORBIDDEN,
        code::RATE => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn given(visitor: &Visitor, token: &Token) -> Response {
    if visitor.is_script {
        return answer_json(StatusCode::OK, &json!({ "token": token.as_str() }));
    }
    let (name, token) = (Text(&visitor.door.host_name), Text(token.as_str()));
    let command = visitor.door.secure.as_ref().map_or_else(String::new, |secure| {
        let (host, port) = (Text(&visitor.host), secure.shown_port());
        let digits = secure.sha256.replace(':', "").to_lowercase();
        format!(
            "<p><small>On your computer, with the token in a file: <code>luca-run --gateway \
             &#39;wss://{host}{port}/ws#sha256={digits}&#39; --token-file FILE system.status</code></small></p>"
        )
    });
    let body = format!(
        "<h1>{name} is yours</h1>\n<p class=\"sub\">The set-up code is void from now on.</p>\n\
         <div class=\"box\"><h2>Your token</h2><p>Whoever shows it is the owner of this machine. Keep it where you keep \
         passwords: it is shown this once.</p><code class=\"token\">{token}</code>{command}<a class=\"button\" href=\"/\">I have kept it</a></div>\n"
    );
    page(StatusCode::OK, "Claimed", &body)
}

/// `POST /setup-code/withdraw`
pub(super) async fn withdraw_code(visitor: Visitor) -> Response {
    if !visitor.is_owner {
        return visitor.refuse(StatusCode::FORBIDDEN, NOT_THE_OWNER);
    }
    match visitor.door.gateway.control.ask(SETUP_CODE_WITHDRAW, b"null").await {
        Ok(_) => session::done(&visitor),
        Err(fault) => visitor.refuse(status_of(&fault), &fault.message),
    }
}

/// `POST /setup-code`
pub(super) async fn new_code(visitor: Visitor) -> Response {
    if !visitor.is_owner {
        return visitor.refuse(StatusCode::FORBIDDEN, NOT_THE_OWNER);
    }
    let answer = visitor.door.gateway.control.ask(SETUP_CODE, b"null").await;
    let code = answer.and_then(|answer| {
        let read = serde_json::from_slice::<Code>(&answer);
        read.map_err(|_| Fault::new(code::INTERNAL, "the gateway does not understand what init answers"))
    });
    match code {
        Ok(Code { code }) if visitor.is_script => answer_json(StatusCode::OK, &json!({ "code": code })),
        Ok(Code { code }) => {
            let (name, code) = (Text(&visitor.door.host_name), Text(code));
            let body = format!(
                "<h1>{name}</h1>\n<div class=\"box\"><h2>A new set-up code</h2><code class=\"token\">{code}</code>\
                 <p>Who enters it is given a new token, and the one of before is void. Until then it counts.</p>\
                 <p><a href=\"/\">Back</a></p></div>\n"
            );
            page(StatusCode::OK, "A new set-up code", &body)
        }
        Err(fault) => visitor.refuse(status_of(&fault), &fault.message),
    }
}

/// Tells init when the token of a claim is shown for the first time, each time that there is one.
pub(crate) async fn tell_of_use(gateway: Arc<Gateway>, tokens: Arc<Tokens>) {
    loop {
        tokens.claim_is_used().await;
        while let Err(fault) = gateway.control.ask(CLAIM_USED, b"null").await {
            tracing::warn!(reason = fault.message, "init does not take down that the owner has the token");
            tokio::time::sleep(PAUSE).await;
        }
    }
}
