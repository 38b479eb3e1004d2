//! The last look at a site before it is shown: read back from the disk, parsed as a browser and a search engine would,
//! and compared with what was meant.

pub(crate) mod html;
mod json_ld;
pub(crate) mod xml;

use std::collections::BTreeMap;
use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;

use crate::article::Article;
use crate::check::html::Page;
use crate::page::Addresses;
use crate::site::Site;

/// The most bytes of a page.
const PAGE_MOST: usize = 30 * 1024;

/// What was checked and found right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Checks {
    /// Pages that are valid HTML.
    pub(crate) html: usize,
    /// Blocks of structured data with all their fields.
    pub(crate) json_ld: usize,
    /// Links that lead somewhere.
    pub(crate) links: usize,
    /// Well-formed XML files: sitemap and feed.
    pub(crate) xml: usize,
}

/// Everything that is wrong with a site, a line each: `posts/a.html: the id x is there twice`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub(crate) struct Faults(pub(crate) Vec<String>);

/// A site as it lies in its folder: path → text.
type Files = BTreeMap<String, String>;

/// Checks the site in `folder` against its data.
///
/// # Errors
/// All that is wrong, files that cannot be read included.
pub(crate) fn check(folder: &Path, site: &Site, addresses: &Addresses) -> Result<Checks, Faults> {
    let mut files = Files::new();
    read(folder, "", &mut files).map_err(|fault| Faults(vec![fault]))?;
    let mut found =
        Found { addresses, files: &files, pages: BTreeMap::new(), checks: Checks::default(), faults: Vec::new() };
    found.pages(site);
    found.links();
    found.xml(site);
    if found.faults.is_empty() { Ok(found.checks) } else { Err(Faults(found.faults)) }
}

fn read(folder: &Path, prefix: &str, files: &mut Files) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{prefix}: cannot be read back: {error}");
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().map_err(failed)?.is_dir() {
            read(&entry.path(), &format!("{path}/"), files)?;
        } else {
            let text = std::fs::read_to_string(entry.path())
                .map_err(|error| format!("{path}: cannot be read back: {error}"))?;
            files.insert(path, text);
        }
    }
    Ok(())
}

struct Found<'f> {
    addresses: &'f Addresses,
    files: &'f Files,
    pages: BTreeMap<&'f str, Page>,
    checks: Checks,
    faults: Vec<String>,
}

impl Found<'_> {
    fn fault(&mut self, path: &str, fault: impl std::fmt::Display) {
        self.faults.push(format!("{path}: {fault}"));
    }

    fn pages(&mut self, site: &Site) {
        let files = self.files;
        for (path, text) in files.iter().filter(|(path, _)| path.ends_with(".html")) {
            let page = Page::read(text);
            page.faults.iter().for_each(|fault| self.faults.push(format!("{path}: {fault}")));
            if text.len() > PAGE_MOST {
                self.fault(path, format_args!("has {} bytes, {PAGE_MOST} at the most", text.len()));
            }
            for block in &page.structured {
                match json_ld::check(block) {
                    Ok(()) => self.checks.json_ld += 1,
                    Err(fault) => self.fault(path, fault),
                }
            }
            self.checks.html += 1;
            self.pages.insert(path, page);
        }
        for article in &site.articles {
            self.article(article);
        }
    }

    /// What a reader of the page sees is what was written, character by character: nothing of it became markup.
    fn article(&mut self, article: &Article) {
        let path = format!("posts/{}.html", article.slug);
        let Some(page) = self.pages.get(path.as_str()) else { return self.fault(&path, "is missing") };
        let mut wanted: Vec<&str> = article.texts().collect();
        wanted.extend([article.title.as_str(), article.description.as_str()]);
        let is_same = page.texts.iter().map(String::as_str).eq(wanted);
        let link = article.affiliate_link.iter().map(String::as_str);
        let is_linked = page.links.iter().filter(|link| link.sponsored).map(|link| link.address.as_str()).eq(link);
        if !is_same {
            self.fault(&path, "its texts are not those of the article");
        }
        if !is_linked {
            self.fault(&path, "its affiliate link is not the one that was given");
        }
    }

    fn links(&mut self) {
        let mut faults = Vec::new();
        for (path, page) in &self.pages {
            for link in page.links.iter().filter(|link| !link.sponsored) {
                match self.resolve(path, &link.address) {
                    Ok(()) => self.checks.links += 1,
                    Err(why) => faults.push(format!("{path}: the link {} {why}", link.address)),
                }
            }
        }
        self.faults.extend(faults);
    }

    fn resolve(&self, from: &str, address: &str) -> Result<(), &'static str> {
        let (target, fragment) = address.split_once('#').map_or((address, None), |(target, id)| (target, Some(id)));
        let path = match target.strip_prefix(&self.addresses.home()) {
            Some("") => "index.html".to_owned(),
            Some(path) => path.to_owned(),
            None if target.is_empty() => from.to_owned(),
            None if target.contains("://") || target.starts_with('/') => return Err("leads out of the site"),
            None => beside(from, target).ok_or("leads out of the site")?,
        };
        if !self.files.contains_key(&path) {
            return Err("leads to no file");
        }
        let has_id = |id: &str| self.pages.get(path.as_str()).is_some_and(|page| page.ids.contains(id));
        if fragment.is_none_or(has_id) { Ok(()) } else { Err("leads to no place in its page") }
    }

    fn xml(&mut self, site: &Site) {
        for (path, wanted) in [("sitemap.xml", site.articles.len() + 1), ("feed.xml", site.articles.len().min(20) + 1)]
        {
            let addresses =
                self.files.get(path).ok_or_else(|| "is missing".to_owned()).and_then(|text| xml::addresses(text));
            match addresses {
                Err(fault) => self.fault(path, fault),
                Ok(addresses) if addresses.len() < wanted => self.fault(path, "names too few pages"),
                Ok(addresses) => {
                    self.checks.xml += 1;
                    for address in addresses {
                        match self.resolve("", &address) {
                            Ok(()) => {}
                            Err(why) => self.fault(path, format_args!("{address} {why}")),
                        }
                    }
                }
            }
        }
    }
}

/// The path to which `target` leads from the page at `from`; `None` above the site.
fn beside(from: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            ".." => drop(parts.pop()?),
            "." => {}
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::page::render;
    use crate::sample;

    fn written(change: impl Fn(&str, String) -> String) -> (tempfile::TempDir, Site, Addresses) {
        let folder = tempfile::tempdir().expect("a folder");
        let site = sample::site();
        let addresses = Addresses::new("http://127.0.0.1:8001", site.id.as_str());
        fs::create_dir(folder.path().join("posts")).expect("made");
        for file in render(&site, &addresses).expect("sound templates") {
            let text = change(&file.path, file.text);
            fs::write(folder.path().join(&file.path), text).expect("written");
        }
        (folder, site, addresses)
    }

    fn faults(change: impl Fn(&str, String) -> String) -> String {
        let (folder, site, addresses) = written(change);
        check(folder.path(), &site, &addresses).expect_err("a fault").to_string()
    }

    #[test]
    fn a_sound_site_is_counted() {
        let (folder, site, addresses) = written(|_, text| text);
        let checks = check(folder.path(), &site, &addresses).expect("sound");
        assert_eq!((checks.html, checks.json_ld, checks.xml), (3, 7, 2));
        assert!(checks.links > 20, "{checks:?}");
    }

    #[test]
    fn each_kind_of_damage_is_found() {
        let post = |from: &'static str, to: &'static str| {
            faults(move |path, text| if path.starts_with("posts/") { text.replacen(from, to, 1) } else { text })
        };
        assert!(post("</article>", "").contains("HTML"), "unclosed element");
        assert!(post("id=\"section-2\"", "id=\"section-1\"").contains("twice"));
        assert!(post("#section-2", "#section-9").contains("leads to no place"));
        assert!(post("../style.css", "../else.css").contains("leads to no file"));
        assert!(post("../style.css", "../../style.css").contains("leads out"));
        assert!(post("<p>", "<p><b>x</b>").contains("<b>"));
        assert!(post("<p>", "<p onclick=\"x()\">").contains("onclick"));
        assert!(post("application/ld+json", "text/javascript").contains("script"));
        assert!(post("\"headline\"", "\"headlin\"").contains("headline"));
        assert!(post("<h1>", "<h1>More ").contains("texts"));
        assert!(post("sponsored ", "").contains("leads out"));
    }

    #[test]
    fn damaged_xml_is_found() {
        let cut = faults(|path, text| if path == "feed.xml" { text.replace("</rss>", "") } else { text });
        assert!(cut.contains("feed.xml: "), "{cut}");
        let lost = faults(|path, text| if path == "sitemap.xml" { text.replace("posts", "past") } else { text });
        assert!(lost.contains("leads to no file"), "{lost}");
    }
}
