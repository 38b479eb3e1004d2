//! A page as a browser reads it.

use std::collections::BTreeSet;

use scraper::{ElementRef, Html, Selector};

/// The elements that our templates use. Anything else came from a text that was not escaped.
const ELEMENTS: [&str; 29] = [
    "a", "article", "aside", "body", "details", "div", "footer", "h1", "h2", "head", "header", "html", "img", "li",
    "link", "main", "meta", "nav", "ol", "p", "script", "section", "summary", "time", "title", "ul", "br", "span",
    "strong",
];

/// The attributes that our templates use.
const ATTRIBUTES: [&str; 19] = [
    "alt",
    "aria-labelledby",
    "charset",
    "class",
    "content",
    "datetime",
    "height",
    "href",
    "id",
    "lang",
    "name",
    "open",
    "property",
    "rel",
    "src",
    "title",
    "type",
    "width",
    "role",
];

/// Where the texts of an article stand, in the order of [`Article::texts`](crate::article::Article::texts), and then
/// title and description a second time, for search engines.
const TEXTS: &str = "article > header > h1, .summary > p:not(.label), article > section > h2:not(#questions), \
                     article > section > p, details > summary, details > p";

/// A page, parsed.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) ids: BTreeSet<String>,
    pub(crate) links: Vec<Link>,
    /// What stands in its `application/ld+json` scripts.
    pub(crate) structured: Vec<String>,
    /// The texts of an article; empty on a page that is none.
    pub(crate) texts: Vec<String>,
    pub(crate) faults: Vec<String>,
}

/// Where a page leads to, or what it loads.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) address: String,
    /// Whether it is marked as paid for, in every way that it has to be.
    pub(crate) sponsored: bool,
}

impl Page {
    /// Parses a page; what is wrong is in `faults`.
    pub(crate) fn read(text: &str) -> Self {
        let html = Html::parse_document(text);
        let mut page = Self {
            ids: BTreeSet::new(),
            links: Vec::new(),
            structured: Vec::new(),
            texts: texts(&html),
            faults: html.errors.iter().map(|error| format!("is not valid HTML: {error}")).collect(),
        };
        for element in html.root_element().descendent_elements() {
            page.element(&element);
        }
        page.required(&html);
        page
    }

    fn element(&mut self, element: &ElementRef<'_>) {
        let name = element.value().name();
        if !ELEMENTS.contains(&name) {
            self.faults.push(format!("has an element <{name}> that is not ours"));
        }
        for (attribute, value) in element.value().attrs() {
            match attribute {
                "id" if !self.ids.insert(value.to_owned()) => {
                    self.faults.push(format!("the id {value} is there twice"))
                }
                "href" | "src" => self.links.push(link(element, value)),
                attribute if ATTRIBUTES.contains(&attribute) => {}
                attribute => self.faults.push(format!("has an attribute {attribute} that is not ours")),
            }
        }
        if name == "script" {
            match element.attr("type") {
                Some("application/ld+json") => self.structured.push(element.text().collect()),
                _ => self.faults.push("has a script".to_owned()),
            }
        }
    }

    fn required(&mut self, html: &Html) {
        let wanted = [
            ("html[lang]", 1),
            ("head > title", 1),
            ("meta[name=description][content]", 1),
            ("link[rel=canonical][href]", 1),
            ("h1", 1),
            ("main", 1),
        ];
        for (selector, wanted) in wanted {
            let found = all(html, selector).count();
            if found != wanted {
                self.faults.push(format!("has {found} of {selector} in place of {wanted}"));
            }
        }
    }
}

fn link(element: &ElementRef<'_>, address: &str) -> Link {
    let rel: Vec<&str> = element.attr("rel").unwrap_or_default().split(' ').collect();
    let sponsored = ["sponsored", "nofollow", "noopener"].iter().all(|word| rel.contains(word));
    Link { address: address.to_owned(), sponsored }
}

fn texts(html: &Html) -> Vec<String> {
    let mut texts: Vec<String> = all(html, TEXTS).map(|element| element.text().collect()).collect();
    if !texts.is_empty() {
        texts.extend(all(html, "head > title").map(|title| title.text().collect::<String>()));
        let described = all(html, "meta[name=description]").filter_map(|meta| meta.attr("content"));
        texts.extend(described.map(str::to_owned));
    }
    texts
}

fn all<'h>(html: &'h Html, selector: &str) -> impl Iterator<Item = ElementRef<'h>> {
    // The selectors are constants of this file; one that cannot be read finds nothing, and every page then fails.
    let selector = Selector::parse(selector).ok();
    let found: Vec<ElementRef<'h>> = selector.iter().flat_map(|selector| html.select(selector)).collect();
    found.into_iter()
}
