//! What a caller orders: the arguments of `generate_site`, and what they are once checked.

use kit::{Error, Name, Result};
use schemars::JsonSchema;
use serde::Deserialize;

/// The longest keyword in characters.
const KEYWORD_MOST: usize = 200;
/// The longest affiliate link in bytes.
const LINK_MOST: usize = 2000;
/// The longest language tag in bytes (RFC 5646, section 4.4.1).
const LANG_MOST: usize = 35;
const ARTICLES: u8 = 3;

/// The arguments as they come.
#[derive(Debug, Deserialize, JsonSchema)]
pub(crate) struct GenerateSite {
    /// The site's name, also that of its folder: lower-case letters, digits, `_` and `-`, a letter first.
    pub(crate) site_id: String,
    /// What the articles are about, up to 200 characters.
    pub(crate) keyword: String,
    /// An http or https address that readers are sent to, marked as advertisement. Without it there is none.
    pub(crate) affiliate_link: Option<String>,
    /// How many articles to write; 3 unless stated.
    #[schemars(range(min = 1, max = 10))]
    pub(crate) n_articles: Option<u8>,
    /// The language to write in, as a language tag such as `en` or `pt-BR`; `en` unless stated.
    pub(crate) lang: Option<String>,
    /// Only plan: ask for titles and headings, write nothing. False unless stated.
    pub(crate) dry: Option<bool>,
}

/// A checked order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) site: Name,
    pub(crate) keyword: String,
    pub(crate) affiliate_link: Option<String>,
    /// 1 to 10.
    pub(crate) articles: u8,
    pub(crate) lang: String,
    pub(crate) dry: bool,
}

impl Order {
    /// Checks the arguments.
    ///
    /// # Errors
    /// Names the argument and what would be right.
    pub(crate) fn check(args: GenerateSite) -> Result<Self> {
        Ok(Self {
            site: args.site_id.parse().map_err(|error| Error::invalid("/site_id", format!("site_id {error}")))?,
            keyword: keyword(&args.keyword)?,
            affiliate_link: args.affiliate_link.map(affiliate_link).transpose()?,
            articles: args.n_articles.unwrap_or(ARTICLES),
            lang: args.lang.map_or_else(|| Ok("en".to_owned()), lang)?,
            dry: args.dry.unwrap_or(false),
        })
    }
}

fn keyword(text: &str) -> Result<String> {
    let fault = |what: &str| Err(Error::invalid("/keyword", format!("keyword {what}")));
    if text.chars().any(char::is_control) {
        return fault("must be one line without control characters");
    }
    let keyword = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match keyword.chars().count() {
        0 => fault("must not be empty: say what the articles are about, such as \"self custody\""),
        length if length > KEYWORD_MOST => fault(&format!("must have at most {KEYWORD_MOST} characters, not {length}")),
        _ if !keyword.chars().any(char::is_alphanumeric) => fault("must have a letter or a digit in it"),
        _ => Ok(keyword),
    }
}

fn affiliate_link(link: String) -> Result<String> {
    let rest = link.strip_prefix("https://").or_else(|| link.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or_default();
    let is_host = host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')
        && host.chars().all(|c| c.is_ascii_alphanumeric() || "-.:[]".contains(c));
    // What RFC 3986 allows in an address, and nothing that could end an attribute.
    let is_address = link.chars().all(|c| c.is_ascii_graphic() && !"\"'<>\\^`{|}".contains(c));
    if is_host && is_address && link.len() <= LINK_MOST {
        return Ok(link);
    }
    let rule = format!("affiliate_link must be an http or https address of at most {LINK_MOST} characters");
    Err(Error::invalid("/affiliate_link", format!("{rule}, such as \"https://example.com/?ref=me\"")))
}

fn lang(tag: String) -> Result<String> {
    let mut parts = tag.split('-');
    let primary = parts.next().unwrap_or_default();
    let is_primary = (2..=3).contains(&primary.len()) && primary.chars().all(|c| c.is_ascii_alphabetic());
    let is_part = |part: &str| (2..=8).contains(&part.len()) && part.chars().all(|c| c.is_ascii_alphanumeric());
    if is_primary && parts.all(is_part) && tag.len() <= LANG_MOST {
        return Ok(tag);
    }
    Err(Error::invalid("/lang", "lang must be a language tag such as \"en\" or \"pt-BR\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut GenerateSite)) -> std::result::Result<Order, String> {
        let mut args = GenerateSite {
            site_id: "demo".to_owned(),
            keyword: "self custody".to_owned(),
            affiliate_link: None,
            n_articles: None,
            lang: None,
            dry: None,
        };
        change(&mut args);
        Order::check(args).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let order = check(|_| {}).expect("sound");
        assert_eq!((order.articles, order.lang.as_str(), order.dry), (3, "en", false));
        assert_eq!(order.affiliate_link, None);
    }

    #[test]
    fn each_argument_is_refused_by_its_path() {
        let refused = |path: &str, change: &dyn Fn(&mut GenerateSite)| {
            let message = check(|args| change(args)).expect_err(path);
            assert!(message.ends_with(&format!("(at {path})")), "{message}");
        };
        for id in ["", "Demo", "../demo", "1demo", ".new-x", "a/b"] {
            refused("/site_id", &|args| args.site_id = id.to_owned());
        }
        for keyword in ["", "  ", "a\nb", "\u{7}", "---", &"x".repeat(201)] {
            refused("/keyword", &|args| args.keyword = keyword.to_owned());
        }
        let long = format!("https://example.com/{}", "x".repeat(2000));
        for link in
            ["", "javascript:alert(1)", "https://", "https://a b", "https://x/\"onclick=", "https://me@x/", &long]
        {
            refused("/affiliate_link", &|args| args.affiliate_link = Some(link.to_owned()));
        }
        for lang in ["", "e", "english", "en_GB", "en-", "en-\"><script>"] {
            refused("/lang", &|args| args.lang = Some(lang.to_owned()));
        }
    }

    #[test]
    fn sound_links_and_languages_pass_as_they_are() {
        let order = check(|args| {
            args.affiliate_link = Some("https://www.example.com:8443/a?ref=me&x=1#top".to_owned());
            args.lang = Some("zh-Hant-TW".to_owned());
            args.keyword = "  cold   wallets ".to_owned();
        });
        let order = order.expect("sound");
        assert_eq!(order.keyword, "cold wallets");
        assert_eq!(order.lang, "zh-Hant-TW");
    }
}
