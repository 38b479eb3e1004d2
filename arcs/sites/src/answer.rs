//! Answers over HTTP, all with the headers that keep a page harmless.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

/// No script, nothing from elsewhere, no form, no frame: the pages need none.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline' 'self'; img-src 'self' data:; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

const ALWAYS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    // A site may be written anew at any time; the entity tag makes asking cheap.
    (header::CACHE_CONTROL, "no-cache"),
];

const HTML: &str = "text/html; charset=utf-8";

/// An answer of that status and media type.
pub(crate) fn content(status: StatusCode, media_type: &'static str, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// A file, or that the one that the client has is still the same.
pub(crate) fn file(name: &str, bytes: Vec<u8>, version: &str, request: &HeaderMap) -> Response<Body> {
    let tag = format!("\"{version}\"");
    let asked = request.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_same = asked.split(',').any(|one| one.trim().trim_start_matches("W/") == tag);
    let mut response = match is_same {
        true => content(StatusCode::NOT_MODIFIED, media_type(name), Body::empty()),
        false => content(StatusCode::OK, media_type(name), bytes),
    };
    if let Ok(tag) = tag.parse() {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// Where to find it instead.
pub(crate) fn moved(to: &str) -> Response<Body> {
    let mut response = page(StatusCode::PERMANENT_REDIRECT, "Moved", "<p>This folder has a slash at its end.</p>");
    if let Ok(to) = to.parse() {
        response.headers_mut().insert(header::LOCATION, to);
    }
    response
}

/// A page of this Arc's own. `title` is text, `body` is HTML.
pub(crate) fn page(status: StatusCode, title: &str, body: &str) -> Response<Body> {
    let title = escaped(title);
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    );
    content(status, HTML, html)
}

/// The looks of this Arc's own pages: one column, light or dark as the reader's system is.
const STYLE: &str = include_str!("page.css");

/// `text` as it may stand in HTML, in an element or a quoted attribute.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

/// The media types of what a mini-site is made of. Anything else is only bytes.
fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, ending)| ending) {
        "html" => HTML,
        "css" => "text/css; charset=utf-8",
        "xml" => "application/xml; charset=utf-8",
        "txt" => "text/plain; charset=utf-8",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "gif" => "image/gif",
        "ico" => "image/vnd.microsoft.icon",
        _ => "application/octet-stream",
    }
}
