//! Joining a Wi-Fi network from a browser.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;
use spec::caller::code;
use spec::control::{WIFI_JOIN, WIFI_SCAN, WifiJoin, WifiSeen};
use spec::{Country, Ssid};

use super::html::{Text, page};
use super::portal::comes_by_access_point;
use super::visitor::{Visitor, answer_json, capital, fields};
use crate::message::Fault;

/// `GET /wifi`
pub(super) async fn show(visitor: Visitor) -> Response {
    if let Err(refusal) = let_in(&visitor).await {
        return refusal;
    }
    let overview = visitor.door.told.overview(&visitor.door.gateway.control).await;
    let network = overview.machine.as_ref().and_then(|machine| machine.network.as_deref());
    match scan(&visitor).await {
        Ok(seen) => form(&visitor, &seen, network),
        Err(fault) => refuse(&visitor, &fault),
    }
}

async fn scan(visitor: &Visitor) -> Result<Vec<WifiSeen>, Fault> {
    let answer = visitor.door.gateway.control.ask(WIFI_SCAN, b"null").await?;
    let unclear = |_| Fault::new(code::INTERNAL, "the gateway does not understand which networks there are");
    serde_json::from_slice(&answer).map_err(unclear)
}

/// `POST /wifi`
pub(super) async fn join(visitor: Visitor, body: Bytes) -> Response {
    let by_access_point = match let_in(&visitor).await {
        Ok(by_access_point) => by_access_point,
        Err(refusal) => return refusal,
    };
    let mut wanted = match wanted(fields(&visitor, &body, ["ssid", "passphrase", "country"]).unwrap_or_default()) {
        Ok(wanted) => wanted,
        Err(why) => return visitor.refuse(StatusCode::BAD_REQUEST, &why),
    };
    match scan(&visitor).await {
        Ok(seen) => wanted.hidden = !seen.iter().any(|one| one.ssid == wanted.ssid),
        Err(fault) => return refuse(&visitor, &fault),
    }
    let asked = serde_json::to_vec(&wanted).unwrap_or_default();
    if by_access_point {
        return begin(&visitor, &wanted.ssid, asked);
    }
    match visitor.door.gateway.control.ask(WIFI_JOIN, &asked).await {
        Ok(_) if visitor.is_script => answer_json(StatusCode::OK, &json!({})),
        Ok(_) => {
            let body = "<h1>Joined</h1>\n<p>The machine is in that network now.</p>\n<p><a href=\"/\">Back</a></p>\n";
            page(StatusCode::OK, "Joined", body)
        }
        Err(fault) => refuse(&visitor, &fault),
    }
}

fn wanted([ssid, passphrase, country]: [String; 3]) -> Result<WifiJoin, String> {
    if ssid.is_empty() {
        return Err("the name of a network is wanted, in the field `ssid`".to_owned());
    }
    let ssid = ssid.parse::<Ssid>().map_err(|why| format!("`ssid` {why}"))?;
    let country = Some(country.trim().to_uppercase()).filter(|country| !country.is_empty());
    let country = country.map(|country| country.parse::<Country>()).transpose();
    let country = country.map_err(|why| format!("`country` {why}"))?;
    let passphrase = Some(passphrase).filter(|passphrase| !passphrase.is_empty());
    Ok(WifiJoin { ssid, passphrase, country, hidden: false })
}

/// Joins after this is answered: the access point, by which the answer goes, ends with it.
fn begin(visitor: &Visitor, ssid: &Ssid, asked: Vec<u8>) -> Response {
    let gateway = Arc::clone(&visitor.door.gateway);
    tokio::spawn(async move {
        if let Err(fault) = gateway.control.ask(WIFI_JOIN, &asked).await {
            tracing::warn!(reason = fault.message, "the Wi-Fi network of the set-up page was not joined");
        }
    });
    if visitor.is_script {
        return answer_json(StatusCode::ACCEPTED, &json!({}));
    }
    let name = &visitor.door.host_name;
    let body = format!(
        "<h1>Trying</h1>\n<p>The machine leaves this Wi-Fi now and tries to join {}. Go back to your own network and open \
         <b>http://{}.local</b>.</p>\n<p>If this Wi-Fi comes back in a minute it has failed: join it again and <a \
         href=\"/wifi\">come back here</a>, where it says why.</p>\n",
        Text(ssid),
        Text(name)
    );
    page(StatusCode::OK, "Trying", &body)
}

/// The owner, or whoever is close enough to use the set-up access point, which has a passphrase of its own. Answers whether
/// they have come by that.
async fn let_in(visitor: &Visitor) -> Result<bool, Response> {
    if !visitor.is_unseen() {
        return Err(visitor.refuse_seen());
    }
    let by_access_point = comes_by_access_point(&visitor.door, visitor.ends).await;
    if visitor.is_owner || by_access_point {
        return Ok(by_access_point);
    }
    Err(visitor.refuse(StatusCode::FORBIDDEN, "this is for the owner: claim the machine or enter the token first"))
}

fn refuse(visitor: &Visitor, fault: &Fault) -> Response {
    match fault.code {
        code::METHOD_NOT_FOUND => visitor.refuse(StatusCode::NOT_FOUND, "this machine has no Wi-Fi"),
        _ => visitor.refuse(StatusCode::BAD_GATEWAY, &fault.message),
    }
}

/// `network` is how the network is now, in words.
fn form(visitor: &Visitor, found: &[WifiSeen], network: Option<&str>) -> Response {
    let row = |one: &WifiSeen| {
        let lock = if one.secured { "with a passphrase" } else { "open" };
        let strength = match one.signal_dbm {
            -60.. => "strong",
            -75..-60 => "fair",
            _ => "weak",
        };
        format!("<option value=\"{}\">{strength}, {lock}</option>", Text(&one.ssid))
    };
    let options: String = found.iter().map(row).collect();
    let now = network.map_or_else(String::new, |network| format!("<p><small>Now: {}</small></p>\n", Text(network)));
    let reach = match found.len() {
        0 => "no network is in reach; a hidden one can be typed".to_owned(),
        count => format!("{count} in reach"),
    };
    let (name, reach) = (Text(&visitor.door.host_name), Text(capital(&reach)));
    let body = format!(
        "<h1>{name}</h1>\n<p class=\"sub\">Join a Wi-Fi network · {reach}</p>\n{now}\
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
