//! The set-up access point leads nowhere but here: whoever looks for the Internet there is led to the page of the machine.
//!
//! Phones and computers ask for a page that they know after joining a network. Where something else answers, they show
//! their users what that is (RFC 8952 calls it a captive portal).

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::html::guarded;
use crate::listener::door::{Door, Refusal};
use crate::listener::tcp::Ends;

/// Whatever there is no page for.
pub(super) async fn lead(State(door): State<Arc<Door>>, ConnectInfo(ends): ConnectInfo<Ends>) -> Response {
    or_refuse(&door, ends, (StatusCode::NOT_FOUND, "there is no such page\n")).await
}

/// Leads to the page who comes by the access point, without TLS; refuses others.
pub(super) async fn or_refuse(door: &Door, ends: Ends, refusal: Refusal) -> Response {
    let is_misled = matches!(refusal.0, StatusCode::NOT_FOUND | StatusCode::MISDIRECTED_REQUEST);
    if is_misled && !door.is_secure && comes_by_access_point(door, ends).await {
        let address = match ends.own.ip().to_canonical() {
            IpAddr::V4(address) => format!("http://{address}/"),
            IpAddr::V6(address) => format!("http://[{address}]/"),
        };
        return guarded((StatusCode::FOUND, [(header::LOCATION, address)]).into_response());
    }
    guarded(refusal.into_response())
}

/// Whether somebody has reached the machine by its own access point.
pub(super) async fn comes_by_access_point(door: &Door, ends: Ends) -> bool {
    let overview = door.told.overview(&door.gateway.control).await;
    let network = overview.machine.as_ref().and_then(|machine| machine.access_point);
    network.is_some_and(|network| network.is_way_of(ends.peer.ip(), ends.own.ip()))
}
