//! The HTTP side: one request, one answer.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use kit::Host;
use time::OffsetDateTime;
use tokio::net::TcpListener;

use crate::answer::{file, moved, page};
use crate::overview::overview;
use crate::shelf::{Found, Shelf};
use crate::target::{Target, is_for_loopback};

/// The page of a folder.
const INDEX: &str = "index.html";

/// Serves the sites on `listener`. Each request keeps the Arc from being idle.
pub(crate) async fn serve(listener: TcpListener, shelf: Arc<Shelf>, host: Host) {
    let router = Router::new().fallback(answer).with_state((shelf, host));
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the sites are not served any more");
    }
}

async fn answer(State((shelf, host)): State<(Arc<Shelf>, Host)>, request: Request) -> Response<Body> {
    let _busy = host.busy();
    if !is_for_loopback(request.uri(), request.headers()) {
        let body = "<p>The sites are served to this machine alone: open them as <code>http://localhost</code>.</p>";
        return page(StatusCode::MISDIRECTED_REQUEST, "Not under this name", body);
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut response = page(StatusCode::METHOD_NOT_ALLOWED, "Only to be read", "<p>A site takes no input.</p>");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let (parts, _) = request.into_parts();
    let looked = tokio::task::spawn_blocking(move || look(&shelf, parts.uri.path(), &parts.headers)).await;
    match looked {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error),
    }
}

fn look(shelf: &Shelf, uri_path: &str, headers: &axum::http::HeaderMap) -> std::io::Result<Response<Body>> {
    let (path, as_folder) = match Target::read(uri_path) {
        Some(Target::Overview) => return Ok(overview(&shelf.sites()?, OffsetDateTime::now_utc())),
        Some(Target::InSite { path, as_folder, .. }) => (path, as_folder),
        None => return Ok(absent()),
    };
    let path = if as_folder { format!("{path}/{INDEX}") } else { path };
    Ok(match shelf.find(&path)? {
        Found::File { bytes, version } => file(&path, bytes, &version, headers),
        // The path is one that `Target` has read, so it begins with one slash and a site's name: no other host.
        Found::Folder if !as_folder => moved(&format!("{uri_path}/")),
        Found::Folder | Found::Nothing => absent(),
        Found::TooLarge => page(StatusCode::FORBIDDEN, "Too large", "<p>Files beyond 32 MB are not served.</p>"),
    })
}

fn absent() -> Response<Body> {
    let body = "<p>There is no such page. It may have been replaced when the site was written anew.</p>\n\
                <p><a href=\"/\">All sites</a></p>";
    page(StatusCode::NOT_FOUND, "Not found", body)
}

fn failed(error: &dyn std::error::Error) -> Response<Body> {
    tracing::error!(%error, "a page cannot be served");
    let body = "<p>The page cannot be read just now; the log of sites says why.</p>";
    page(StatusCode::INTERNAL_SERVER_ERROR, "Something failed", body)
}
