//! The Arc that writes mini-sites.
//!
//! `generate_site` asks `llm.chat` for one small part after another: title, headings, questions, then each section and
//! each answer by itself. Every text passes a gate or is asked for anew. Everything else of a page is ours: its
//! markup, links, dates, structured data. The site is written beside the old one, read back from the disk and
//! checked, and then exchanged with the old one in one step, so that there is always a whole site.
//!
//! A site keeps its articles as data in `.site.json` in its folder; a later call adds to them and makes all pages
//! anew. An article whose title gives the slug of an older one takes its place.

mod article;
mod check;
mod folder;
mod gate;
mod generate;
mod labels;
mod model;
mod order;
mod outline;
mod page;
mod prompt;
#[cfg(test)]
mod sample;
mod site;
mod slug;
mod structured;
mod words;

use std::process::ExitCode;
use std::sync::Arc;

use kit::{Host, Server, StartError};

use crate::folder::Sites;
use crate::generate::{SeoAffiliate, generate_site};

/// Where developer mode serves the sites.
const BASE_URL: &str = "http://127.0.0.1:8001";

const DESCRIPTION: &str = "Writes articles about a keyword and adds them to a mini-site: pages, index, sitemap and feed. \
                           With `dry`, only plans: it asks the model for titles and headings, answers which pages there \
                           would be, and writes nothing.";

/// Serves `generate_site` until it is idle or asked to stop.
#[must_use]
pub fn run() -> ExitCode {
    kit::run(env!("CARGO_PKG_VERSION"), async |host: Host| build(&host))
}

fn build(host: &Host) -> Result<Server<SeoAffiliate>, StartError> {
    let base_url = host.settings(|section| Some(section.or("base_url", BASE_URL.to_owned())))?;
    let sites = Arc::new(Sites::open(host.mounted("/data/sites")));
    let state = SeoAffiliate { sites, base_url: base_url.unwrap_or_else(|| BASE_URL.to_owned()) };
    Ok(Server::new(state).tool("generate_site", DESCRIPTION, generate_site))
}
