//! The page that lists the sites.

use axum::body::Body;
use axum::http::{Response, StatusCode};
use time::OffsetDateTime;

use crate::answer::{escaped, page};
use crate::shelf::Site;

const TITLE: &str = "Sites";

/// The page, at the time `now`.
pub(crate) fn overview(sites: &[Site], now: OffsetDateTime) -> Response<Body> {
    if sites.is_empty() {
        let body = "<p>There is no site yet. The first one appears here when it is finished:</p>\n\
                    <p><code>luca-run mcp.awake.tick</code></p>";
        return page(StatusCode::OK, TITLE, body);
    }
    let items: String = sites.iter().map(|site| item(site, now)).collect();
    page(StatusCode::OK, TITLE, &format!("<ul>\n{items}</ul>"))
}

fn item(site: &Site, now: OffsetDateTime) -> String {
    let pages = if site.pages == 1 { "1 page".to_owned() } else { format!("{} pages", site.pages) };
    format!(
        "<li><a href=\"/{id}/\">{title}</a>\n<p class=\"quiet\">{id} · {pages} · <time datetime=\"{date}\">{ago}</time></p></li>\n",
        id = escaped(site.id.as_str()),
        title = escaped(&site.title),
        date = site.modified.date(),
        ago = ago(site.modified, now),
    )
}

/// How long ago that was, in words; a date when it is long ago or not yet.
fn ago(then: OffsetDateTime, now: OffsetDateTime) -> String {
    match (now - then).whole_seconds() {
        0..60 => "just now".to_owned(),
        seconds @ 60..3_600 => format!("{} min ago", seconds / 60),
        seconds @ 3_600..86_400 => format!("{} h ago", seconds / 3_600),
        seconds @ 86_400..2_592_000 => format!("{} d ago", seconds / 86_400),
        _ => then.date().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_site_are_escaped() {
        let site = Site {
            id: "demo".parse().expect("a name"),
            title: "<script>alert('1')</script> & \"more\"".to_owned(),
            pages: 1,
            modified: OffsetDateTime::UNIX_EPOCH,
        };
        let html = item(&site, OffsetDateTime::UNIX_EPOCH);
        assert!(html.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &quot;more&quot;"), "{html}");
        assert!(html.contains("1 page ·"), "{html}");
    }

    #[test]
    fn times_are_relative_while_that_says_more() {
        let at = |seconds: i64| OffsetDateTime::from_unix_timestamp(1_800_000_000 + seconds).expect("a time");
        let said: Vec<_> = [5, 240, 7_200, 200_000, 10_000_000].map(|seconds| ago(at(0), at(seconds))).into();
        assert_eq!(said, ["just now", "4 min ago", "2 h ago", "2 d ago", "2027-01-15"]);
        assert_eq!(ago(at(10), at(0)), "2027-01-15");
    }
}
