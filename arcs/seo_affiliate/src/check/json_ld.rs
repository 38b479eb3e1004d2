//! Structured data as a search engine reads it.

use serde_json::Value;

/// Checks one block: JSON, of a kind that we write, with the fields that the kind needs.
///
/// # Errors
/// Says what is wrong.
pub(crate) fn check(text: &str) -> Result<(), String> {
    let block: Value =
        serde_json::from_str(text).map_err(|error| format!("its structured data is no JSON: {error}"))?;
    let kind = block.get("@type").and_then(Value::as_str).unwrap_or_default();
    let needed: &[&str] = match kind {
        "Article" => &[
            "/headline",
            "/description",
            "/inLanguage",
            "/datePublished",
            "/dateModified",
            "/author/name",
            "/publisher/name",
            "/mainEntityOfPage/@id",
        ],
        "FAQPage" => &["/mainEntity/0/name", "/mainEntity/0/acceptedAnswer/text"],
        "BreadcrumbList" => &["/itemListElement/0/item", "/itemListElement/1/name"],
        "WebSite" => &["/name", "/url"],
        other => return Err(format!("its structured data is of the kind {other:?}")),
    };
    let is_there = |pointer: &str| block.pointer(pointer).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
    match needed.iter().find(|pointer| !is_there(pointer)) {
        Some(missing) => Err(format!("its structured data of the kind {kind} lacks {missing}")),
        None => Ok(()),
    }
}
