//! Pages: words that are escaped, and what surrounds them.

use std::fmt;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

const STYLE: &str = include_str!("style.css");
/// Nothing is loaded, nothing runs, nobody shows the page in one of theirs, and forms lead here alone.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; \
    base-uri 'none'";

/// A text in a page: what a name, an error or a file says is never markup.
pub(super) struct Text<T>(pub(super) T);

impl<T: fmt::Display> fmt::Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.to_string().chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                _ => write!(f, "{letter}")?,
            }
        }
        Ok(())
    }
}

/// A page with this title; `body` is markup.
pub(super) fn page(status: StatusCode, title: &str, body: &str) -> Response {
    let title = Text(title);
    let text = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{title}</title><style>{STYLE}</style></head>\n\
         <body>\n{body}</body></html>\n"
    );
    guarded((status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], text).into_response())
}

/// The answer with what keeps it from being kept, framed or read as something else.
pub(super) fn guarded(mut answer: Response) -> Response {
    // With less than `same-origin` browsers would not say where a form comes from.
    let guards = [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    for (name, value) in guards {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_never_markup() {
        assert_eq!(Text("<b a='1' c=\"&\">").to_string(), "&lt;b a=&#39;1&#39; c=&quot;&amp;&quot;&gt;");
    }
}
