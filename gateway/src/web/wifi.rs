//! Joining a Wi-Fi network from a browser.

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use spec::caller::code;

use super::html::{Text, page};
use super::portal::comes_by_access_point;
use super::visitor::{Visitor, answer_json, capital, fields};
use crate::message::Fault;

/// What init is asked.
const SCAN: &str = "network.scan";
const JOIN: &str = "network.join";

/// A network in reach.
#[derive(Debug, Deserialize)]
struct Found {
    ssid: String,
    signal_dbm: i32,
    secured: bool,
}

/// `GET /wifi`
pub(super) async fn show(visitor: Visitor) -> Response {
    if let Err(refusal) = let_in(&visitor).await {
        return refusal;
    }
    match visitor.door.gateway.control.ask(SCAN, b"null").await {
        Ok(answer) => form(&visitor, &serde_json::from_slice::<Vec<Found>>(&answer).unwrap_or_default()),
        Err(fault) => refuse(&visitor, &fault),
    }
}

/// `POST /wifi`
pub(super) async fn join(visitor: Visitor, body: Bytes) -> Response {
    if let Err(refusal) = let_in(&visitor).await {
        return refusal;
    }
    let [ssid, passphrase, country] = fields(&visitor, &body, ["ssid", "passphrase", "country"]).unwrap_or_default();
    if ssid.is_empty() {
        return visitor.refuse(StatusCode::BAD_REQUEST, "the name of a network is wanted, in the field `ssid`");
    }
    let mut wanted = Map::from_iter([("ssid".to_owned(), Value::from(ssid))]);
    let more = [("passphrase", passphrase), ("country", country.trim().to_uppercase())];
    let more = more.into_iter().filter(|(_, value)| !value.is_empty());
    wanted.extend(more.map(|(key, value)| (key.to_owned(), Value::from(value))));
    match visitor.door.gateway.control.ask(JOIN, Value::from(wanted).to_string().as_bytes()).await {
        Ok(_) if visitor.is_script => answer_json(StatusCode::OK, &json!({})),
        Ok(_) => {
            let body = "<h1>Joined</h1>\n<p>The machine is in that network now. If you came by its own access point, go \
                        back to your network and open the machine by its name.</p>\n<p><a href=\"/\">Back</a></p>\n";
            page(StatusCode::OK, "Joined", body)
        }
        Err(fault) => refuse(&visitor, &fault),
    }
}

/// The owner, or whoever is close enough to use the set-up access point, which has a passphrase of its own.
async fn let_in(visitor: &Visitor) -> Result<(), Response> {
    if !visitor.is_unseen() {
        return Err(visitor.refuse_seen());
    }
    if visitor.is_owner || comes_by_access_point(&visitor.door, visitor.ends).await {
        return Ok(());
    }
    Err(visitor.refuse(StatusCode::FORBIDDEN, "this is for the owner: claim the machine or enter the token first"))
}

fn refuse(visitor: &Visitor, fault: &Fault) -> Response {
    match fault.code {
        code::METHOD_NOT_FOUND => visitor.refuse(StatusCode::NOT_FOUND, "this machine has no Wi-Fi"),
        _ => visitor.refuse(StatusCode::BAD_GATEWAY, &fault.message),
    }
}

fn form(visitor: &Visitor, found: &[Found]) -> Response {
    let row = |one: &Found| {
        let lock = if one.secured { "with a passphrase" } else { "open" };
        let strength = match one.signal_dbm {
            -60.. => "strong",
            -75..-60 => "fair",
            _ => "weak",
        };
        format!("<option value=\"{}\">{strength}, {lock}</option>", Text(&one.ssid))
    };
    let options: String = found.iter().filter(|one| !one.ssid.is_empty()).map(row).collect();
    let reach = match found.len() {
        0 => "no network is in reach; a hidden one can be typed".to_owned(),
        count => format!("{count} in reach"),
    };
    let (name, reach) = (Text(&visitor.door.host_name), Text(capital(&reach)));
    let body = format!(
        "<h1>{name}</h1>\n<p class=\"sub\">Join a Wi-Fi network · {reach}</p>\n\
         <form class=\"box\" method=\"post\" action=\"/wifi\">\
         <label for=\"ssid\">Network</label><input id=\"ssid\" name=\"ssid\" list=\"networks\" maxlength=\"32\" required \
         autocomplete=\"off\" autocapitalize=\"none\"><datalist id=\"networks\">{options}</datalist>\
         <label for=\"passphrase\">Passphrase <small>empty for an open network</small></label>\
         <input id=\"passphrase\" name=\"passphrase\" type=\"password\" maxlength=\"64\" autocomplete=\"off\">\
         <label for=\"country\">Country <small>two letters, such as DE, where the machine does not know it</small></label>\
         <input id=\"country\" name=\"country\" maxlength=\"2\" pattern=\"[A-Za-z]{{2}}\" autocomplete=\"country\">\
         <button>Join</button></form>\n<p><a href=\"/\">Back</a></p>\n"
    );
    page(StatusCode::OK, "Wi-Fi", &body)
}
