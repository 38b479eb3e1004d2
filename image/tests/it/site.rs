//! A finished mini-site, judged from outside: what a browser, a search engine, a feed reader and a careful person would
//! look at. Knows nothing of the program that wrote it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use quick_xml::Reader;
use quick_xml::events::Event;
use scraper::{ElementRef, Html, Selector};
use serde_json::Value;

/// The most bytes of a page.
const PAGE_MOST: usize = 30 * 1024;

/// Elements that a page of plain text and links may have. Whatever a model writes must not add one.
const ELEMENTS: [&str; 27] = [
    "html", "head", "meta", "title", "link", "script", "body", "a", "header", "footer", "nav", "main", "div",
    "article", "section", "aside", "h1", "h2", "p", "ol", "ul", "li", "details", "summary", "time", "img", "span",
];

/// Attributes that such a page may have.
const ATTRIBUTES: [&str; 18] = [
    "lang",
    "charset",
    "name",
    "content",
    "property",
    "rel",
    "href",
    "type",
    "title",
    "class",
    "id",
    "src",
    "alt",
    "width",
    "height",
    "datetime",
    "open",
    "aria-labelledby",
];

/// What a sound site was found to hold.
#[derive(Debug)]
pub(crate) struct Judged {
    /// The text of each article by the path of its page, as a reader sees it.
    pub(crate) articles: BTreeMap<String, String>,
    /// How many links were followed.
    pub(crate) links: usize,
}

/// Judges the site in `folder`, which is to be served at `address` (`http://127.0.0.1:8001/crypto-beginner/`) and was
/// written by `model`.
///
/// # Errors
/// Everything that is wrong with it, a line each.
pub(crate) fn judge(folder: &Path, address: &str, model: &str) -> Result<Judged, String> {
    let mut site = Site { address, files: BTreeMap::new(), pages: BTreeMap::new(), faults: Vec::new(), links: 0 };
    site.read(folder, "");
    site.parse();
    site.pages(model);
    site.links();
    site.listings();
    let articles = site.pages.iter().filter(|(path, _)| path.starts_with("posts/"));
    let articles: BTreeMap<String, String> = articles.map(|(path, page)| (path.clone(), text(page, "main"))).collect();
    if articles.is_empty() {
        site.faults.push("there is no article".to_owned());
    }
    if site.faults.is_empty() { Ok(Judged { articles, links: site.links }) } else { Err(site.faults.join("\n")) }
}

struct Site<'a> {
    address: &'a str,
    files: BTreeMap<String, String>,
    pages: BTreeMap<String, Html>,
    faults: Vec<String>,
    links: usize,
}

impl Site<'_> {
    fn read(&mut self, folder: &Path, prefix: &str) {
        for entry in fs::read_dir(folder).expect("the site's folder") {
            let entry = entry.expect("an entry");
            let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type().expect("a type").is_dir() {
                self.read(&entry.path(), &format!("{path}/"));
            } else {
                self.files.insert(path, fs::read_to_string(entry.path()).expect("text in UTF-8"));
            }
        }
    }

    fn parse(&mut self) {
        for path in ["index.html", "sitemap.xml", "feed.xml"] {
            let is_there = self.files.contains_key(path);
            self.claim(path, is_there, "is missing");
        }
        let html = self.files.iter().filter(|(path, _)| path.ends_with(".html"));
        self.pages = html.map(|(path, source)| (path.clone(), Html::parse_document(source))).collect();
    }

    fn claim(&mut self, path: &str, holds: bool, fault: impl std::fmt::Display) {
        if !holds {
            self.faults.push(format!("{path}: {fault}"));
        }
    }

    fn pages(&mut self, model: &str) {
        let pages = std::mem::take(&mut self.pages);
        for (path, page) in &pages {
            let size = self.files.get(path).map_or(0, String::len);
            self.claim(path, size < PAGE_MOST, format_args!("has {size} bytes"));
            self.source(path);
            self.markup(path, page);
            self.head(path, page);
            self.claim(path, text(page, "body").contains(model), format_args!("does not say that {model} wrote it"));
            if path.starts_with("posts/") {
                self.article(path, page);
            }
        }
        self.pages = pages;
    }

    /// Valid HTML5: a doctype, and what was parsed has every element that the source opens, closed where it has to be.
    fn source(&mut self, path: &str) {
        let source = self.files.get(path).cloned().unwrap_or_default();
        self.claim(path, source.starts_with("<!doctype html>"), "does not begin with <!doctype html>");
        let mut open: Vec<&str> = Vec::new();
        for tag in source.split('<').skip(1).filter_map(|rest| rest.split(['>', ' ', '\n']).next()) {
            match tag.strip_prefix('/') {
                Some(name) if open.last() == Some(&name) => drop(open.pop()),
                Some(name) => {
                    return self.claim(path, false, format_args!("closes <{name}> which is not the last opened"));
                }
                None if ["!doctype", "meta", "link", "img"].contains(&tag) => {}
                None => open.push(tag),
            }
        }
        self.claim(path, open.is_empty(), format_args!("does not close {open:?}"));
    }

    fn markup(&mut self, path: &str, page: &Html) {
        let mut ids = BTreeSet::new();
        for element in page.root_element().descendent_elements() {
            let name = element.value().name();
            self.claim(path, ELEMENTS.contains(&name), format_args!("has an element <{name}>"));
            for (attribute, value) in element.value().attrs() {
                self.claim(path, ATTRIBUTES.contains(&attribute), format_args!("has an attribute {attribute}"));
                let is_new = attribute != "id" || ids.insert(value.to_owned());
                self.claim(path, is_new, format_args!("has the id {value} twice"));
            }
            let is_data = name != "script" || element.attr("type") == Some("application/ld+json");
            self.claim(path, is_data, "has a script");
        }
        for mark in ["**", "```", "## ", "](", "&lt;p&gt;", "\\n", "undefined", "{{"] {
            self.claim(path, !text(page, "main").contains(mark), format_args!("shows {mark:?} to a reader"));
        }
    }

    fn head(&mut self, path: &str, page: &Html) {
        let title = text(page, "head > title").chars().count();
        self.claim(path, (5..=80).contains(&title), format_args!("has a title of {title} characters"));
        let description = attribute(page, "meta[name=description]", "content").unwrap_or_default().chars().count();
        self.claim(
            path,
            (30..=200).contains(&description),
            format_args!("has a description of {description} characters"),
        );
        let lang = attribute(page, "html", "lang").unwrap_or_default();
        self.claim(path, !lang.is_empty(), "does not say its language");
        self.claim(path, all(page, "h1").len() == 1, "has not exactly one <h1>");
        let canonical = attribute(page, "link[rel=canonical]", "href").unwrap_or_default();
        let expected = if path == "index.html" { self.address.to_owned() } else { format!("{}{path}", self.address) };
        self.claim(path, canonical == expected, format_args!("calls itself {canonical:?} in place of {expected:?}"));
        let blocks = all(page, "script").into_iter().map(|script| script.text().collect::<String>());
        let blocks: Vec<Option<Value>> = blocks.map(|block| serde_json::from_str(&block).ok()).collect();
        self.claim(
            path,
            !blocks.is_empty() && blocks.iter().all(Option::is_some),
            "has structured data that is no JSON",
        );
    }

    fn article(&mut self, path: &str, page: &Html) {
        let title = text(page, "h1");
        let blocks = all(page, "script")
            .into_iter()
            .filter_map(|script| serde_json::from_str::<Value>(&script.text().collect::<String>()).ok());
        let blocks: BTreeMap<String, Value> =
            blocks.map(|block| (block["@type"].as_str().unwrap_or_default().to_owned(), block)).collect();
        let needed = [
            ("Article", "/headline"),
            ("Article", "/description"),
            ("Article", "/datePublished"),
            ("Article", "/dateModified"),
            ("Article", "/author/name"),
            ("Article", "/mainEntityOfPage/@id"),
            ("FAQPage", "/mainEntity/0/name"),
            ("FAQPage", "/mainEntity/0/acceptedAnswer/text"),
            ("BreadcrumbList", "/itemListElement/1/item"),
        ];
        for (kind, pointer) in needed {
            let value = blocks.get(kind).and_then(|block| block.pointer(pointer)).and_then(Value::as_str);
            let is_there = value.is_some_and(|value| !value.is_empty());
            self.claim(path, is_there, format_args!("has no {pointer} in the structured data of its {kind}"));
        }
        let headline = blocks.get("Article").and_then(|block| block["headline"].as_str()).unwrap_or_default();
        self.claim(path, headline == title, "has another headline in its structured data than on the page");
        let asked = blocks.get("FAQPage").and_then(|block| block["mainEntity"].as_array()).map_or(0, Vec::len);
        let shown = all(page, "details > summary").len();
        self.claim(path, shown >= 2 && asked == shown, format_args!("shows {shown} questions and lists {asked}"));
        let sections = all(page, "article h2").len();
        self.claim(path, sections >= 3, format_args!("has only {sections} sections"));
        self.prose(path, page);
    }

    /// Text that somebody could want to read: enough of it, whole sentences, nothing twice.
    fn prose(&mut self, path: &str, page: &Html) {
        let paragraphs: Vec<String> = all(page, "article section > p, details > p").iter().map(content).collect();
        let words: usize = paragraphs.iter().map(|paragraph| paragraph.split_whitespace().count()).sum();
        self.claim(path, words >= 200, format_args!("has only {words} words"));
        for paragraph in &paragraphs {
            let is_whole = paragraph.ends_with(['.', '!', '?', '"', '”', ')', '…']);
            self.claim(path, is_whole, format_args!("has a paragraph that breaks off: {paragraph:?}"));
        }
        let different: BTreeSet<&String> = paragraphs.iter().collect();
        self.claim(path, different.len() == paragraphs.len(), "has the same paragraph twice");
    }

    fn links(&mut self) {
        let pages = std::mem::take(&mut self.pages);
        for (path, page) in &pages {
            for element in page.root_element().descendent_elements() {
                let Some(link) = element.attr("href").or_else(|| element.attr("src")) else { continue };
                self.links += 1;
                let rel: BTreeSet<&str> = element.attr("rel").unwrap_or_default().split(' ').collect();
                let is_paid = ["sponsored", "nofollow", "noopener"].iter().all(|word| rel.contains(word));
                let leads = is_paid || leads_somewhere(&self.files, &pages, self.address, path, link);
                self.claim(path, leads, format_args!("the link {link} leads nowhere"));
            }
        }
        self.pages = pages;
    }

    /// Sitemap and feed name every article, and nothing that is not there.
    fn listings(&mut self) {
        for path in ["sitemap.xml", "feed.xml"] {
            let source = self.files.get(path).cloned().unwrap_or_default();
            let named = match addresses(&source) {
                Ok(named) => named,
                Err(fault) => {
                    self.claim(path, false, fault);
                    continue;
                }
            };
            for address in &named {
                let target = address.strip_prefix(self.address);
                let is_there = target.is_some_and(|target| target.is_empty() || self.files.contains_key(target));
                self.claim(path, is_there, format_args!("names {address}, which is not there"));
            }
            let articles: Vec<String> = self.pages.keys().filter(|page| page.starts_with("posts/")).cloned().collect();
            for article in articles.iter().take(20) {
                let is_named = named.contains(&format!("{}{article}", self.address));
                self.claim(
                    path,
                    is_named || (path == "feed.xml" && articles.len() > 20),
                    format_args!("does not name {article}"),
                );
            }
        }
    }
}

fn leads_somewhere(
    files: &BTreeMap<String, String>,
    pages: &BTreeMap<String, Html>,
    address: &str,
    from: &str,
    link: &str,
) -> bool {
    let (target, id) = link.split_once('#').map_or((link, None), |(target, id)| (target, Some(id)));
    let path = match target.strip_prefix(address) {
        Some("") => "index.html".to_owned(),
        Some(path) => path.to_owned(),
        None if target.is_empty() => from.to_owned(),
        None => {
            let mut parts: Vec<&str> = from.split('/').collect();
            parts.pop();
            for part in target.split('/') {
                if part == ".." && parts.pop().is_none() {
                    return false;
                }
                if part != ".." {
                    parts.push(part);
                }
            }
            parts.join("/")
        }
    };
    let has_id = |id: &str| {
        pages
            .get(&path)
            .is_some_and(|page| page.root_element().descendent_elements().any(|element| element.attr("id") == Some(id)))
    };
    files.contains_key(&path) && id.is_none_or(has_id)
}

/// The addresses in a sitemap or a feed.
fn addresses(source: &str) -> Result<BTreeSet<String>, String> {
    let mut reader = Reader::from_str(source);
    let mut open: Vec<String> = Vec::new();
    let mut content = String::new();
    let mut found = BTreeSet::new();
    loop {
        match reader.read_event().map_err(|error| format!("is not well-formed: {error}"))? {
            Event::Start(element) => {
                open.push(element.name().as_ref().to_owned());
                content.clear();
            }
            Event::Text(text) => content.push_str(&text.xml10_content()),
            Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                Ok(Some(c)) => content.push(c),
                _ if ["amp", "lt", "gt", "quot", "apos"].contains(&&*reference) => content.push('&'),
                _ => return Err(format!("is not well-formed: &{};", &*reference)),
            },
            Event::End(_) => {
                if let Some("loc" | "link") = open.pop().as_deref() {
                    found.insert(std::mem::take(&mut content));
                }
            }
            Event::Eof if open.is_empty() && !found.is_empty() => return Ok(found),
            Event::Eof => return Err(format!("ends within {open:?}, with {} addresses", found.len())),
            _ => {}
        }
    }
}

fn all<'h>(page: &'h Html, selector: &str) -> Vec<ElementRef<'h>> {
    page.select(&Selector::parse(selector).expect("a selector")).collect()
}

fn content(element: &ElementRef<'_>) -> String {
    element.text().collect::<String>().trim().to_owned()
}

fn text(page: &Html, selector: &str) -> String {
    all(page, selector).iter().map(content).collect::<Vec<_>>().join("\n")
}

fn attribute<'h>(page: &'h Html, selector: &str, name: &str) -> Option<&'h str> {
    all(page, selector).first().and_then(|element| element.value().attr(name))
}

/// A page by hand, to show that the judge looks: it passes but for what each case damages.
#[test]
fn the_judge_finds_what_is_wrong() {
    const ADDRESS: &str = "http://127.0.0.1:8001/demo/";
    let verdict = |from: &str, to: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("posts")).expect("made");
        fs::write(folder.path().join("index.html"), by_hand(ADDRESS)).expect("written");
        fs::write(folder.path().join("posts/a.html"), by_hand(&format!("{ADDRESS}posts/a.html")).replacen(from, to, 1))
            .expect("written");
        let listing = format!("<x><loc>{ADDRESS}</loc><link>{ADDRESS}posts/a.html</link></x>");
        fs::write(folder.path().join("sitemap.xml"), &listing).expect("written");
        fs::write(folder.path().join("feed.xml"), &listing).expect("written");
        judge(folder.path(), ADDRESS, "qwen-test").map(|judged| judged.articles.len())
    };
    assert_eq!(verdict("", ""), Ok(1));
    for (from, to, fault) in [
        ("</section>", "", "closes"),
        ("<h2>", "<h2><b>x</b>", "<b>"),
        ("<h2>", "<h2 onclick=\"x\">", "onclick"),
        ("application/ld+json", "text/javascript", "has a script"),
        ("\"headline\"", "\"other\"", "/headline"),
        ("href=\"#one\"", "href=\"#two\"", "leads nowhere"),
        ("href=\"#one\"", "href=\"https://evil.example/\"", "leads nowhere"),
        ("qwen-test", "somebody", "does not say"),
        ("<h2>", "<h2>**", "shows"),
        ("end.", "end", "breaks off"),
        ("rel=\"canonical\"", "rel=\"canon\"", "calls itself"),
    ] {
        let faults = verdict(from, to).expect_err(fault);
        assert!(faults.contains(fault), "{fault}: {faults}");
    }
}

#[cfg(test)]
fn by_hand(address: &str) -> String {
    let article = r#"{"@type":"Article","headline":"A title","description":"d","datePublished":"x","dateModified":"x","author":{"name":"n"},"mainEntityOfPage":{"@id":"x"}}"#;
    let faq = r#"{"@type":"FAQPage","mainEntity":[{"name":"q","acceptedAnswer":{"text":"a"}},{"name":"q","acceptedAnswer":{"text":"a"}}]}"#;
    let trail = r#"{"@type":"BreadcrumbList","itemListElement":[{},{"item":"x"}]}"#;
    let scripts =
        [article, faq, trail].map(|block| format!("<script type=\"application/ld+json\">{block}</script>")).concat();
    let sections = ["one", "two", "three"]
        .map(|name| format!("<section><h2>Heading</h2><p>{} the end.</p></section>", format!("{name} ").repeat(80)))
        .concat();
    let questions = "<details><summary>Why?</summary><p>Because one.</p></details><details><summary>How?</summary><p>So.</p></details>";
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>A title</title>\
         <meta name=\"description\" content=\"What a reader learns here, in one sentence.\">\
         <link rel=\"canonical\" href=\"{address}\">{scripts}</head><body><main><a href=\"#one\">To the text</a>\
         <article id=\"one\"><h1>A title</h1>{sections}{questions}</article></main><footer>qwen-test</footer></body></html>"
    )
}
