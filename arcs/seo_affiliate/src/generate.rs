//! The tool `generate_site`: from an order to a finished site.

use std::sync::Arc;

use kit::{Call, Error, Name, Result, Shared};
use schemars::JsonSchema;
use serde::Serialize;
use time::OffsetDateTime;

use crate::article::{Article, Body, Turn, write};
use crate::check::Checks;
use crate::folder::{Draft, FolderError, Sites};
use crate::labels::language_name;
use crate::model::{Author, Model, Usage};
use crate::order::{GenerateSite, Order};
use crate::outline::{Outline, outline, topics};
use crate::page::Addresses;
use crate::prompt::Prompts;
use crate::slug::slug;
use crate::structured::iso;

/// What all calls share.
pub(crate) struct SeoAffiliate {
    pub(crate) sites: Arc<Sites>,
    /// Where the sites are served, `http://127.0.0.1:8001`.
    pub(crate) base_url: String,
}

/// What was made.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Generated {
    /// Always true: what does not pass its check is an error.
    pub(crate) ok: bool,
    /// Whether this is only a plan.
    pub(crate) dry: bool,
    pub(crate) site_id: String,
    /// The site's folder.
    pub(crate) out_dir: String,
    /// The pages that were written, or would be.
    pub(crate) pages: Vec<Made>,
    /// What to do next, in words.
    pub(crate) next: Vec<String>,
    /// The model that wrote.
    pub(crate) model: String,
    /// The tokens that it took.
    pub(crate) usage: Usage,
    /// How many words were written.
    pub(crate) words: usize,
    /// What was checked in the whole site; zeros in a plan.
    pub(crate) checks: Checks,
}

/// One page.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct Made {
    pub(crate) title: String,
    pub(crate) slug: String,
    /// Its path below where the sites are served.
    pub(crate) url: String,
    /// When it was written, as ISO 8601.
    pub(crate) ts: String,
}

/// The tool.
///
/// # Errors
/// An argument is wrong, the model gives nothing that can be used, or the site cannot be written. What was there
/// before is then as it was.
pub(crate) async fn generate_site(state: Shared<SeoAffiliate>, call: Call, args: GenerateSite) -> Result<Generated> {
    generate(&state, &call, &Order::check(args)?, now(), seed()).await
}

/// Carries out an order. `now` is what the pages are dated with; another `seed` gives other texts.
pub(crate) async fn generate<M: Model>(
    state: &SeoAffiliate,
    model: &M,
    order: &Order,
    now: i64,
    seed: u32,
) -> Result<Generated> {
    // First of all, so that a disk that cannot be written shows before the model works for minutes.
    let draft = if order.dry { None } else { Some(draft(&state.sites, &order.site).await?) };
    let mut author = Author::new(model, seed);
    let prompts = Prompts::new(&order.keyword, &language_name(&order.lang));
    let outlines = plan(&mut author, &prompts, order).await?;
    let mut articles = Vec::new();
    for (number, (topic, outline)) in (1_u8..).zip(&outlines) {
        let body = match draft {
            Some(_) => write(&mut author, &prompts, topic, outline, Turn { number, of: order.articles }).await?,
            None => Body { sections: Vec::new(), questions: Vec::new() },
        };
        articles.push(article(order, outline, body, &author.name, now));
    }
    let addresses = Addresses::new(&state.base_url, order.site.as_str());
    let checks = match draft {
        Some(draft) => publish(&state.sites, draft, &order.site, &articles, &addresses).await?,
        None => Checks::default(),
    };
    if !order.dry {
        let links = checks.links;
        author.progress(format!("check HTML valid · JSON-LD valid · {links} links resolve"), None).await;
    }
    Ok(generated(order, &articles, &author, checks, &addresses))
}

/// Topics, titles and headings of all articles; titles differ.
async fn plan<M: Model>(
    author: &mut Author<'_, M>,
    prompts: &Prompts,
    order: &Order,
) -> Result<Vec<(String, Outline)>> {
    author.progress(format!("outline {:?}", order.keyword), None).await;
    let mut plan: Vec<(String, Outline)> = Vec::new();
    for topic in topics(author, prompts, &order.keyword, order.articles).await? {
        let taken: Vec<String> = plan.iter().map(|(_, outline)| outline.title.clone()).collect();
        let outline = outline(author, prompts, &topic, &taken).await?;
        let (sections, questions) = (outline.headings.len(), outline.questions.len());
        author.progress(format!("outline {sections} sections, {questions} questions"), None).await;
        plan.push((topic, outline));
    }
    Ok(plan)
}

fn article(order: &Order, outline: &Outline, body: Body, model: &str, now: i64) -> Article {
    Article {
        slug: slug(&outline.title),
        title: outline.title.clone(),
        description: outline.description.clone(),
        keyword: order.keyword.clone(),
        lang: order.lang.clone(),
        model: model.to_owned(),
        published: now,
        modified: now,
        affiliate_link: order.affiliate_link.clone(),
        sections: body.sections,
        questions: body.questions,
    }
}

fn generated<M: Model>(
    order: &Order,
    articles: &[Article],
    author: &Author<'_, M>,
    checks: Checks,
    addresses: &Addresses,
) -> Generated {
    let id = &order.site;
    let made = |article: &Article| Made {
        title: article.title.clone(),
        slug: article.slug.clone(),
        url: format!("/{id}/posts/{}.html", article.slug),
        ts: iso(article.modified),
    };
    let next = if order.dry {
        "call it again without dry to write them".to_owned()
    } else {
        format!("open {}", addresses.home())
    };
    Generated {
        ok: true,
        dry: order.dry,
        site_id: id.to_string(),
        out_dir: format!("/data/sites/{id}"),
        pages: articles.iter().map(made).collect(),
        next: vec![next],
        model: author.name.clone(),
        usage: author.usage,
        words: if order.dry { 0 } else { articles.iter().map(Article::words).sum() },
        checks,
    }
}

async fn draft(sites: &Arc<Sites>, id: &Name) -> Result<Draft> {
    let (sites, owned) = (sites.clone(), id.clone());
    blocking(id, move || sites.draft(&owned)).await
}

async fn publish(
    sites: &Arc<Sites>,
    draft: Draft,
    id: &Name,
    articles: &[Article],
    addresses: &Addresses,
) -> Result<Checks> {
    let (sites, owned, articles, addresses) = (sites.clone(), id.clone(), articles.to_vec(), addresses.clone());
    blocking(id, move || sites.publish(&draft, &owned, &articles, &addresses)).await
}

/// Disk work goes to a thread of its own: the Arc has one for everything else.
async fn blocking<T: Send + 'static>(
    id: &Name,
    work: impl FnOnce() -> std::result::Result<T, FolderError> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| error.for_caller(id)),
        Err(panic) => {
            Err(Error::new(format!("/data/sites/{id} was not changed: see the log of seo_affiliate")).caused_by(panic))
        }
    }
}

fn now() -> i64 {
    OffsetDateTime::now_utc().unix_timestamp()
}

/// Another one for each call.
fn seed() -> u32 {
    OffsetDateTime::now_utc().nanosecond()
}

#[cfg(test)]
mod tests;
