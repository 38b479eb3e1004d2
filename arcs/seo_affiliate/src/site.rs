//! A site: its articles, as they are kept in its folder from one run to the next.

use kit::Name;
use serde::{Deserialize, Serialize};

use crate::article::Article;
use crate::slug::is_slug;

/// The file in the site's folder that holds it as data. All pages are made from it.
pub(crate) const DATA: &str = ".site.json";

/// The version of the data's form.
const VERSION: u32 = 1;

/// A site as data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Site {
    version: u32,
    /// Its folder and first path segment, `crypto-beginner`.
    pub(crate) id: Name,
    /// Newest first; every slug once.
    pub(crate) articles: Vec<Article>,
}

impl Site {
    /// A site without articles.
    pub(crate) fn new(id: Name) -> Self {
        Self { version: VERSION, id, articles: Vec::new() }
    }

    /// Reads what [`Site::to_json`] wrote.
    ///
    /// # Errors
    /// Says why the text is not the data of the site `id`.
    pub(crate) fn from_json(id: &Name, text: &str) -> Result<Self, String> {
        let site: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if site.version != VERSION {
            return Err(format!("it has the version {} in place of {VERSION}", site.version));
        }
        if site.id != *id {
            return Err(format!("it is the data of the site {}", site.id));
        }
        match site.articles.iter().find(|article| !is_slug(&article.slug)) {
            Some(article) => Err(format!("{:?} is no slug", article.slug)),
            None => Ok(site),
        }
    }

    /// The data as text.
    pub(crate) fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    /// Adds an article on top. One with the same slug is replaced: the address stays, and so does the day on which it
    /// was first published.
    pub(crate) fn add(&mut self, mut article: Article) {
        let before = self.articles.iter().position(|other| other.slug == article.slug);
        if let Some(before) = before.map(|index| self.articles.remove(index)) {
            article.published = article.published.min(before.published);
        }
        self.articles.insert(0, article);
    }

    /// Its name for people: `Crypto beginner` of `crypto-beginner`.
    pub(crate) fn name(&self) -> String {
        let spaced = self.id.as_str().replace(['-', '_'], " ");
        let mut chars = spaced.trim().chars();
        chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn a_site_is_kept_as_it_is() {
        let site = sample::site();
        let text = site.to_json().expect("text");
        assert_eq!(Site::from_json(&site.id, &text), Ok(site));
    }

    #[test]
    fn an_article_with_the_same_slug_takes_the_place_of_the_older_one() {
        let mut site = sample::site();
        let count = site.articles.len();
        let mut again = site.articles[1].clone();
        again.published += 1000;
        again.modified = again.published;
        site.add(again.clone());
        assert_eq!(site.articles.len(), count);
        assert_eq!((site.articles[0].published, site.articles[0].modified), (again.published - 1000, again.modified));
    }

    #[test]
    fn data_that_would_write_outside_of_the_folder_is_refused() {
        let site = sample::site();
        let text = site.to_json().expect("text").replace(&site.articles[0].slug, "../../x");
        assert!(Site::from_json(&site.id, &text).is_err());
        assert!(Site::from_json(&"other".parse().expect("a name"), &site.to_json().expect("text")).is_err());
        assert!(Site::from_json(&site.id, "{\"version\":1").is_err());
    }
}
