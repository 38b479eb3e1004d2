//! A browser that is kept in mind: a cookie in the place of the token, for these pages alone.

use axum::body::Bytes;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::html::guarded;
use super::visitor::{Visitor, answer_json, fields};
use crate::identity::{Tokens, session_of};

/// With this beginning a browser takes and sends the cookie through TLS and for this very host alone (RFC 6265bis, 4.1.3.2).
const NAME: &str = "__Host-llmbasedos";
/// A year.
const SECONDS: u32 = 365 * 24 * 60 * 60;

/// Whether the cookies are those of a browser that is kept in mind.
pub(super) fn is_known(tokens: &Tokens, headers: &HeaderMap) -> bool {
    let texts = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let pairs = texts.flat_map(|text| text.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == NAME).any(|(_, session)| tokens.of_session(session).is_ok())
}

/// Has the browser that gets this answer kept in mind as that of whoever has `token`.
pub(super) fn keep(mut answer: Response, token: &str) -> Response {
    set(&mut answer, &session_of(token), SECONDS);
    answer
}

fn set(answer: &mut Response, session: &str, seconds: u32) {
    let cookie = format!("{NAME}={session}; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age={seconds}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
    }
}

/// `POST /enter`: somebody shows the token.
pub(super) async fn enter(visitor: Visitor, body: Bytes) -> Response {
    if !visitor.door.is_secure {
        return visitor.refuse_seen();
    }
    let [token] = fields(&visitor, &body, ["token"]).unwrap_or_default();
    match visitor.door.tokens.of_token(&token) {
        Ok(_) => keep(done(&visitor), token.trim()),
        Err(fault) => visitor.refuse(StatusCode::FORBIDDEN, &fault.message),
    }
}

/// `POST /leave`: the browser is forgotten.
pub(super) async fn leave(visitor: Visitor) -> Response {
    let mut answer = done(&visitor);
    set(&mut answer, "", 0);
    answer
}

/// Back to the page on which everything is.
pub(super) fn done(visitor: &Visitor) -> Response {
    match visitor.is_script {
        true => answer_json(StatusCode::OK, &json!({})),
        false => guarded((StatusCode::SEE_OTHER, [(header::LOCATION, "/")]).into_response()),
    }
}
