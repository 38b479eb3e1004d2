//! Sitemap and feed as a reader of feeds reads them.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;

/// The addresses of pages in a sitemap (`loc`) or a feed (`link`), if the text is well-formed XML.
///
/// # Errors
/// Says where it is not.
pub(crate) fn addresses(text: &str) -> Result<Vec<String>, String> {
    let mut reader = Reader::from_str(text);
    reader.config_mut().enable_all_checks(true);
    let mut open: Vec<String> = Vec::new();
    let mut found = Vec::new();
    let mut content = String::new();
    loop {
        let event = reader.read_event().map_err(|error| format!("is not well-formed: {error}"))?;
        match event {
            Event::Eof if open.is_empty() => return Ok(found),
            Event::Eof => return Err("is not well-formed: it ends before its elements do".to_owned()),
            Event::Start(element) => {
                open.push(element.name().as_ref().to_owned());
                content.clear();
            }
            Event::End(_) => {
                if matches!(open.pop().as_deref(), Some("loc" | "link")) {
                    found.push(std::mem::take(&mut content));
                }
            }
            Event::Text(text) => content.push_str(&text.xml10_content()),
            Event::GeneralRef(reference) => content.push_str(&resolved(&reference)?),
            _ => {}
        }
    }
}

fn resolved(reference: &quick_xml::events::BytesRef<'_>) -> Result<String, String> {
    let unknown = || format!("is not well-formed: nobody knows &{};", &**reference);
    match reference.resolve_char_ref() {
        Ok(Some(c)) => Ok(c.to_string()),
        Ok(None) => resolve_predefined_entity(reference).map(str::to_owned).ok_or_else(unknown),
        Err(_) => Err(unknown()),
    }
}
