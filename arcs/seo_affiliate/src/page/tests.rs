//! What pages look like, and what no text can do to them.

use proptest::prelude::*;

use super::*;
use crate::check::html::Page;
use crate::check::xml;
use crate::sample;

fn rendered(site: &Site) -> Vec<File> {
    render(site, &Addresses::new("http://127.0.0.1:8001/", site.id.as_str())).expect("sound templates")
}

fn text<'f>(files: &'f [File], path: &str) -> &'f str {
    &files.iter().find(|file| file.path == path).unwrap_or_else(|| panic!("{path} is missing")).text
}

/// `UPDATE_GOLDEN=1 cargo test -p seo_affiliate` writes it anew; then look at the difference.
#[test]
fn a_page_is_as_it_was() {
    let files = rendered(&sample::site());
    let page = text(&files, "posts/how-to-move-coins-from-an-exchange-to-your-wallet.html");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/src/page/golden.html");
        std::fs::write(golden, page).expect("written");
    }
    assert_eq!(page, include_str!("golden.html"));
}

#[test]
fn the_same_data_gives_the_same_bytes() {
    assert_eq!(rendered(&sample::site()), rendered(&sample::site()));
}

#[test]
fn advertisement_is_marked_and_only_there_where_it_was_asked_for() {
    let mut site = sample::site();
    let [with, _] = &mut site.articles[..] else { panic!("two articles") };
    let path = format!("posts/{}.html", with.slug);
    let page = rendered(&site);
    assert!(text(&page, &path).contains("rel=\"sponsored nofollow noopener\">wallets.example</a>"));
    assert!(text(&page, &path).contains("Advertisement"));
    site.articles[0].affiliate_link = None;
    let page = rendered(&site);
    assert!(!text(&page, &path).contains("sponsored") && !text(&page, &path).contains("Advertisement"));
}

#[test]
fn the_index_goes_on_to_further_pages_and_the_feed_names_the_newest() {
    let mut site = sample::site();
    let one = site.articles[0].clone();
    site.articles = (0..45).map(|number| Article { slug: format!("a-{number}"), ..one.clone() }).collect();
    let files = rendered(&site);
    assert_eq!(text(&files, "index.html").matches("<li>").count(), 20);
    assert_eq!(text(&files, "page-3.html").matches("<li>").count(), 5);
    assert!(
        text(&files, "page-2.html").contains("href=\"index.html\"")
            && text(&files, "page-2.html").contains("href=\"page-3.html\"")
    );
    assert_eq!(xml::addresses(text(&files, "feed.xml")).expect("sound").len(), 21);
    assert_eq!(xml::addresses(text(&files, "sitemap.xml")).expect("sound").len(), 46);
    assert!(files.iter().all(|file| file.text.len() < 30 * 1024), "each page is small");
}

#[test]
fn our_words_are_in_the_language_of_the_article() {
    let mut site = sample::site();
    site.articles[0].lang = "fr-CA".to_owned();
    let files = rendered(&site);
    let page = text(&files, &format!("posts/{}.html", site.articles[0].slug));
    assert!(page.contains("<html lang=\"fr-CA\">") && page.contains("Questions et réponses"));
    assert!(page.contains("23 novembre 2026"));
}

fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "\\PC{1,12}",
        Just("</p><script>alert(1)</script>".to_owned()),
        Just("\"'><img src=x onerror=alert(1)>".to_owned()),
        Just("</script><!--".to_owned()),
        Just("</title></head><body>".to_owned()),
        Just("]]><item>&amp;&lt;".to_owned()),
        Just("{{ 7 * 7 }}{% raw %}".to_owned()),
    ];
    proptest::collection::vec(piece, 1..4).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// Whatever a model writes is shown as it is, and adds nothing to the page.
    #[test]
    fn no_text_becomes_markup(texts in proptest::collection::vec(hostile(), 8)) {
        let mut site = sample::site();
        let [a, b, c, d, e, f, g, h] = <[String; 8]>::try_from(texts).expect("eight");
        let article = &mut site.articles[0];
        (article.title, article.description, article.model, article.keyword) = (a, b, c, d);
        article.sections[0].heading = e;
        article.sections[0].paragraphs[0] = f;
        (article.questions[0].question, article.questions[0].answer) = (g, h);
        let sound = rendered(&sample::site());
        let files = rendered(&site);
        for file in files.iter().filter(|file| file.path.ends_with(".html")) {
            let page = Page::read(&file.text);
            prop_assert!(page.faults.is_empty(), "{}: {:?}", file.path, page.faults);
            let before = Page::read(text(&sound, &file.path));
            prop_assert_eq!(page.links.len(), before.links.len());
        }
        let article = &site.articles[0];
        let page = Page::read(text(&files, &format!("posts/{}.html", article.slug)));
        let mut expected: Vec<&str> = article.texts().collect();
        expected.extend([article.title.as_str(), article.description.as_str()]);
        prop_assert_eq!(page.texts, expected);
        for (path, count) in [("feed.xml", 3), ("sitemap.xml", 3)] {
            prop_assert_eq!(xml::addresses(text(&files, path)).expect("well-formed").len(), count);
        }
    }
}
