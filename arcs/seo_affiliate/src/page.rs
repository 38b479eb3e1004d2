//! Pages made from a site's data: the same data gives the same bytes.
//!
//! Every value is escaped. The one exception is structured data, which is escaped for where it stands.

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Output, State, Value, context, escape_formatter};
use time::format_description::well_known::Rfc2822;

use crate::article::Article;
use crate::labels::{Labels, labels, moment};
use crate::site::Site;
use crate::structured;

/// How many cards a page of the index shows.
const CARDS: usize = 20;
/// How many articles the feed tells of.
const FEED: usize = 20;
/// How many other articles an article points to.
const RELATED: usize = 3;
/// What an adult reads in a minute.
const WORDS_A_MINUTE: usize = 220;
/// Hues that are readable on white and on black.
const HUES: [u32; 6] = [215, 235, 262, 335, 12, 190];

const HEAD: &str = include_str!("templates/head.html");
const FOOT: &str = include_str!("templates/foot.html");

/// A file of the finished site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    /// Its path in the site's folder, `posts/how-to.html`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Where the pages of a site are on the web.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Addresses {
    site: String,
}

impl Addresses {
    /// The addresses of the site `id` below `base_url`, which may end with a slash.
    pub(crate) fn new(base_url: &str, id: &str) -> Self {
        Self { site: format!("{}/{id}/", base_url.trim_end_matches('/')) }
    }

    /// The first page: the folder itself.
    pub(crate) fn home(&self) -> String {
        self.site.clone()
    }

    /// An article's page.
    pub(crate) fn article(&self, slug: &str) -> String {
        format!("{}posts/{slug}.html", self.site)
    }

    /// The site's icon.
    pub(crate) fn icon(&self) -> String {
        self.file("icon.svg")
    }

    /// A file of the site by its path.
    pub(crate) fn file(&self, path: &str) -> String {
        format!("{}{path}", self.site)
    }
}

/// All files of a site.
///
/// # Errors
/// A template is at fault; no data can be.
pub(crate) fn render(site: &Site, addresses: &Addresses) -> Result<Vec<File>, minijinja::Error> {
    let pages = Pages { environment: environment()?, site, addresses };
    let mut files = vec![pages.icon()?, pages.style()?, pages.sitemap()?, pages.feed()?];
    for article in &site.articles {
        files.push(pages.article(article)?);
    }
    for number in 0..site.articles.len().div_ceil(CARDS) {
        files.push(pages.index(number)?);
    }
    Ok(files)
}

fn environment() -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_formatter(escaped);
    let page = |body: &str| format!("{HEAD}{body}{FOOT}");
    environment.set_undefined_behavior(minijinja::UndefinedBehavior::SemiStrict);
    environment.add_template_owned("article.html", page(include_str!("templates/article.html")))?;
    environment.add_template_owned("index.html", page(include_str!("templates/index.html")))?;
    environment.add_template("sitemap.xml", include_str!("templates/sitemap.xml"))?;
    environment.add_template("feed.xml", include_str!("templates/feed.xml"))?;
    environment.add_template("icon.svg", include_str!("templates/icon.svg"))?;
    environment.add_template("style.css", include_str!("templates/style.css"))?;
    Ok(environment)
}

/// As minijinja escapes, but that addresses keep their slashes.
fn escaped(out: &mut Output, state: &mut State, value: &Value) -> Result<(), minijinja::Error> {
    match value.as_str().filter(|_| *state.auto_escape() == AutoEscape::Html && !value.is_safe()) {
        Some(text) => Ok(out.write_str(&quick_xml::escape::escape(text))?),
        None => escape_formatter(out, state, value),
    }
}

struct Pages<'s> {
    environment: Environment<'static>,
    site: &'s Site,
    addresses: &'s Addresses,
}

impl Pages<'_> {
    fn file(&self, template: &str, path: String, values: Value) -> Result<File, minijinja::Error> {
        let mut text = self.environment.get_template(template)?.render(values)?;
        text.push('\n');
        Ok(File { path, text })
    }

    fn article(&self, article: &Article) -> Result<File, minijinja::Error> {
        let say = labels(&article.lang);
        let blocks = structured::of_article(self.site, article, self.addresses);
        let sections = article.sections.iter().enumerate().map(|(index, section)| {
            let id = format!("section-{}", index + 1);
            context! { id => id, heading => &section.heading, paragraphs => Serde(&section.paragraphs) }
        });
        let changed = (article.modified - article.published >= 86_400).then(|| day(say, article.modified));
        let values = context! {
            lang => &article.lang, title => &article.title, description => &article.description, kind => "article",
            canonical => self.addresses.article(&article.slug), root => "../", site => self.site.name(),
            structured => blocks.iter().map(structured::for_script).collect::<Vec<_>>(), say => Serde(say),
            model => &article.model, sections => sections.collect::<Vec<_>>(), questions => Serde(&article.questions),
            published => day(say, article.published), modified => changed, minutes => minutes(article),
            offer => article.affiliate_link.as_deref().map(|link| offer(link, article.sections.len())),
            related => self.related(article),
        };
        self.file("article.html", format!("posts/{}.html", article.slug), values)
    }

    /// The articles that were published just before this one, or else the newest.
    fn related(&self, article: &Article) -> Vec<Value> {
        let articles = &self.site.articles;
        let own = articles.iter().position(|other| other.slug == article.slug).unwrap_or(0);
        let others = articles.iter().cycle().skip(own + 1).take(articles.len().saturating_sub(1));
        others.take(RELATED).map(|other| card(other, "")).collect()
    }

    fn index(&self, number: usize) -> Result<File, minijinja::Error> {
        let articles = &self.site.articles;
        let newest = articles.first();
        let lang = newest.map_or("en", |article| article.lang.as_str());
        let say = labels(lang);
        let titles: Vec<&str> = articles.iter().skip(number * CARDS).map(|article| article.title.as_str()).collect();
        let shown: Vec<Value> =
            articles.iter().skip(number * CARDS).take(CARDS).map(|article| card(article, "posts/")).collect();
        let blocks = [structured::of_site(self.site, self.addresses)];
        let path = index_path(number);
        let last = articles.len().div_ceil(CARDS).saturating_sub(1);
        let canonical = if number == 0 { self.addresses.home() } else { self.addresses.file(&path) };
        let values = context! {
            lang => lang, title => numbered(self.site.name(), number), kind => "website", site => self.site.name(),
            description => about(&format!("{} {}", say.articles_on, self.site.name()), &titles),
            canonical => canonical, root => "", say => Serde(say), model => newest.map(|article| &article.model),
            structured => blocks.iter().map(structured::for_script).collect::<Vec<_>>(),
            modified => newest.map(|article| day(say, article.modified)), cards => shown,
            newer => number.checked_sub(1).map(index_path), older => (number < last).then(|| index_path(number + 1)),
        };
        self.file("index.html", path, values)
    }

    fn sitemap(&self) -> Result<File, minijinja::Error> {
        let article = |article: &Article| {
            context! { url => self.addresses.article(&article.slug), modified => structured::iso(article.modified) }
        };
        let values = context! {
            home => self.addresses.home(), modified => structured::iso(self.modified()),
            articles => self.site.articles.iter().map(article).collect::<Vec<_>>(),
        };
        self.file("sitemap.xml", "sitemap.xml".to_owned(), values)
    }

    fn feed(&self) -> Result<File, minijinja::Error> {
        let article = |article: &Article| {
            context! {
                url => self.addresses.article(&article.slug), title => &article.title,
                description => &article.description, published => mail_date(article.published),
            }
        };
        let lang = self.site.articles.first().map_or("en", |article| article.lang.as_str());
        let values = context! {
            site => self.site.name(), home => self.addresses.home(), address => self.addresses.file("feed.xml"),
            lang => lang, modified => mail_date(self.modified()),
            description => format!("{} {}", labels(lang).articles_on, self.site.name()),
            articles => self.site.articles.iter().take(FEED).map(article).collect::<Vec<_>>(),
        };
        self.file("feed.xml", "feed.xml".to_owned(), values)
    }

    fn icon(&self) -> Result<File, minijinja::Error> {
        self.file("icon.svg", "icon.svg".to_owned(), context! { hue => self.hue() })
    }

    fn style(&self) -> Result<File, minijinja::Error> {
        self.file("style.css", "style.css".to_owned(), context! { hue => self.hue() })
    }

    fn modified(&self) -> i64 {
        self.site.articles.iter().map(|article| article.modified).max().unwrap_or_default()
    }

    /// Each site has its own colour, and keeps it.
    fn hue(&self) -> u32 {
        let sum: usize = self.site.id.as_str().bytes().map(usize::from).sum();
        HUES.get(sum % HUES.len()).copied().unwrap_or(215)
    }
}

fn index_path(number: usize) -> String {
    if number == 0 { "index.html".to_owned() } else { format!("page-{}.html", number + 1) }
}

fn numbered(name: String, number: usize) -> String {
    if number == 0 { name } else { format!("{name} ({})", number + 1) }
}

/// A description of a page that lists articles: as many titles as fit.
fn about(begin: &str, titles: &[&str]) -> String {
    /// What search engines show.
    const MOST: usize = 160;
    let mut text = begin.to_owned();
    for (index, title) in titles.iter().enumerate() {
        let separator = if index == 0 { ": " } else { "; " };
        if index > 0 && text.chars().count() + separator.len() + title.chars().count() > MOST {
            break;
        }
        text.push_str(separator);
        text.push_str(title);
    }
    text
}

fn card(article: &Article, folder: &str) -> Value {
    let say = labels(&article.lang);
    context! {
        href => format!("{folder}{}.html", article.slug), title => &article.title, description => &article.description,
        published => day(say, article.published), minutes => minutes(article),
    }
}

/// The box with the affiliate link stands in the middle of the text.
fn offer(link: &str, sections: usize) -> Value {
    let host = link.split("://").nth(1).and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or(link);
    context! { link => link, host => host.strip_prefix("www.").unwrap_or(host), after => sections.div_ceil(2) }
}

fn day(say: &Labels, seconds: i64) -> Value {
    context! { iso => structured::iso(seconds), day => say.day(moment(seconds).date()) }
}

fn minutes(article: &Article) -> usize {
    article.words().div_ceil(WORDS_A_MINUTE).max(1)
}

fn mail_date(seconds: i64) -> String {
    moment(seconds).format(&Rfc2822).unwrap_or_default()
}

#[cfg(test)]
mod tests;
