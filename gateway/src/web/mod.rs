//! The pages of the machine: what a person with a browser and no keyboard at the machine meets first.
//!
//! | page | for whom | what it does |
//! | --- | --- | --- |
//! | `GET /` | everybody | what this machine is and whether it is well; to its owner, how everything on it is doing |
//! | `POST /claim` | who has the set-up code | answers the owner's token, once |
//! | `POST /enter`, `POST /leave` | who has the token | has a browser kept in mind, or forgotten |
//! | `POST /setup-code` | the owner | makes a new set-up code |
//! | `POST /setup-code/withdraw` | the owner | makes it void |
//! | everything else | who comes over the set-up access point and looks for the Internet | leads to `/` |
//! | `GET /wifi`, `POST /wifi` | the owner, and who comes over the set-up access point | joins a network |
//!
//! What is secret comes in and goes out on these pages through TLS alone. There is no script, and nothing is loaded from
//! anywhere. A form is taken from our own pages only (`Door::judge_page`). Forms also come as JSON objects, from scripts,
//! which are answered with JSON.

mod claim;
mod html;
mod overview;
mod portal;
mod session;
mod status;
mod visitor;
mod wifi;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};

pub(crate) use claim::tell_of_use;
pub(crate) use overview::Told;

use crate::listener::door::Door;

/// The most bytes that a form has.
const LONGEST_FORM: usize = 4096;

/// All of them.
pub(crate) fn routes() -> Router<Arc<Door>> {
    Router::new()
        .route("/", get(status::show))
        .route("/claim", post(claim::claim))
        .route("/setup-code", post(claim::new_code))
        .route("/setup-code/withdraw", post(claim::withdraw_code))
        .route("/enter", post(session::enter))
        .route("/leave", post(session::leave))
        .route("/wifi", get(wifi::show).post(wifi::join))
        .fallback(portal::lead)
        .layer(DefaultBodyLimit::max(LONGEST_FORM))
}
