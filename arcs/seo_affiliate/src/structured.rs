//! Structured data for search engines: schema.org as JSON-LD.
//!
//! Fields after <https://schema.org/Article>, `FAQPage` and `BreadcrumbList`, and what
//! <https://developers.google.com/search/docs/appearance/structured-data> asks of them.

use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;

use crate::article::Article;
use crate::labels::{labels, moment};
use crate::page::Addresses;
use crate::site::Site;

/// The blocks of an article's page: the article, its questions, where it stands.
pub(crate) fn of_article(site: &Site, article: &Article, addresses: &Addresses) -> Vec<Value> {
    let url = addresses.article(&article.slug);
    let publisher = json!({"@type": "Organization", "name": site.name(), "url": addresses.home()});
    let questions = article.questions.iter().map(|answered| {
        json!({
            "@type": "Question",
            "name": answered.question,
            "acceptedAnswer": {"@type": "Answer", "text": answered.answer},
        })
    });
    let place = |position: u32, name: &str, item: &str| json!({"@type": "ListItem", "position": position, "name": name, "item": item});
    vec![
        json!({
            "@context": "https://schema.org",
            "@type": "Article",
            "headline": article.title,
            "description": article.description,
            "inLanguage": article.lang,
            "datePublished": iso(article.published),
            "dateModified": iso(article.modified),
            "author": publisher,
            "publisher": publisher,
            "creditText": format!("{} {}", labels(&article.lang).written_by, article.model),
            "wordCount": article.words(),
            "mainEntityOfPage": {"@type": "WebPage", "@id": url},
            "image": addresses.icon(),
            "url": url,
        }),
        json!({
            "@context": "https://schema.org",
            "@type": "FAQPage",
            "mainEntity": questions.collect::<Vec<_>>(),
        }),
        json!({
            "@context": "https://schema.org",
            "@type": "BreadcrumbList",
            "itemListElement": [
                place(1, &site.name(), &addresses.home()),
                place(2, &article.title, &url),
            ],
        }),
    ]
}

/// The block of the first page.
pub(crate) fn of_site(site: &Site, addresses: &Addresses) -> Value {
    json!({"@context": "https://schema.org", "@type": "WebSite", "name": site.name(), "url": addresses.home()})
}

/// JSON that can stand in a `<script>` of a page: nothing in it can end the script or be taken for markup.
pub(crate) fn for_script(value: &Value) -> String {
    let mut safe = String::new();
    for c in value.to_string().chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => safe.push_str(&format!("\\u{:04x}", u32::from(c))),
            other => safe.push(other),
        }
    }
    safe
}

/// A moment as ISO 8601.
pub(crate) fn iso(seconds: i64) -> String {
    moment(seconds).format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn no_text_leaves_its_script(text in "\\PC{0,80}") {
            let hostile = format!("</script><!--{text}\u{2028}&amp;");
            let safe = for_script(&json!({ "headline": hostile }));
            proptest::prop_assert!(!safe.contains(['<', '>', '&', '\u{2028}']), "not safe: {}", safe);
            let back: Value = serde_json::from_str(&safe).expect("still JSON");
            proptest::prop_assert_eq!(&back["headline"], &json!(hostile));
        }
    }
}
