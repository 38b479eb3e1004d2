//! Who asks for a page, and what they have filled in.

use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::html::{Text, guarded, page};
use super::{portal, session};
use crate::listener::door::{Door, Secure};
use crate::listener::tcp::Ends;

/// Who asks.
pub(super) struct Visitor {
    pub(super) door: Arc<Door>,
    pub(super) ends: Ends,
    /// What they called this machine by.
    pub(super) host: String,
    pub(super) is_owner: bool,
    /// A script, which reads JSON.
    pub(super) is_script: bool,
    /// A browser that follows a link of another site, with which it sends no cookie of ours.
    pub(super) is_led_here: bool,
}

impl FromRequestParts<Arc<Door>> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, door: &Arc<Door>) -> Result<Self, Response> {
        let headers = &parts.headers;
        let ends = parts.extensions.get::<ConnectInfo<Ends>>().map(|ConnectInfo(ends)| *ends);
        let ends = ends.ok_or_else(|| StatusCode::INTERNAL_SERVER_ERROR.into_response())?;
        let host = match door.judge_page(headers, &parts.uri) {
            Ok(host) => host,
            Err(refusal) => return Err(portal::or_refuse(door, ends, refusal).await),
        };
        // A token or a cookie that comes without TLS was seen by others: it opens no page.
        let is_safe = door.is_secure || !door.is_open_to_others();
        let is_owner = is_safe && (door.identify(ends, headers).is_ok() || session::is_known(&door.tokens, headers));
        Ok(Self {
            host: host.to_owned(),
            ends,
            is_owner,
            is_script: is_json(headers),
            is_led_here: headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site" || site == "same-site"),
            door: Arc::clone(door),
        })
    }
}

impl Visitor {
    /// Whether what they send and read is seen by nobody else.
    pub(super) fn is_unseen(&self) -> bool {
        self.door.is_secure || !self.door.is_open_to_others()
    }

    /// The page on which everything else is found, through TLS.
    pub(super) fn secure_address(&self) -> String {
        let port = self.door.secure.as_ref().map(Secure::shown_port).unwrap_or_default();
        format!("https://{}{port}/", self.host)
    }

    /// Refuses what is sent for others to see.
    pub(super) fn refuse_seen(&self) -> Response {
        let address = self.secure_address();
        self.refuse(StatusCode::FORBIDDEN, &format!("this goes through TLS alone: use {address}"))
    }

    /// An answer that says what went wrong.
    pub(super) fn refuse(&self, status: StatusCode, why: &str) -> Response {
        if self.is_script {
            return answer_json(status, &json!({ "error": why }));
        }
        let body = format!(
            "<h1>{}</h1>\n<div class=\"box\"><p class=\"bad\">{}</p><p><a href=\"/\">Back</a></p></div>\n",
            Text(&self.door.host_name),
            Text(capital(why))
        );
        page(status, &self.door.host_name, &body)
    }
}

/// A script's answer.
pub(super) fn answer_json(status: StatusCode, value: &Value) -> Response {
    guarded((status, [(header::CONTENT_TYPE, "application/json")], format!("{value}\n")).into_response())
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// What a form or a JSON object says under these names; `None` where it is neither.
pub(super) fn fields<const N: usize>(visitor: &Visitor, body: &[u8], names: [&str; N]) -> Option<[String; N]> {
    let mut values = [const { String::new() }; N];
    if visitor.is_script {
        let object: serde_json::Map<String, Value> = serde_json::from_slice(body).ok()?;
        for (value, name) in values.iter_mut().zip(names) {
            object.get(name).and_then(Value::as_str).unwrap_or_default().clone_into(value);
        }
        return Some(values);
    }
    for (name, content) in form_urlencoded::parse(body) {
        if let Some(value) = names.iter().position(|known| *known == name).and_then(|at| values.get_mut(at)) {
            *value = content.into_owned();
        }
    }
    Some(values)
}

/// A sentence of ours as the first of a paragraph.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
