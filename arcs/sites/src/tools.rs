//! The tool: which sites there are.

use std::sync::Arc;

use kit::{Call, Error, Result, Server, Shared};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::format_description::well_known::Rfc3339;

use crate::shelf::{Shelf, Site};

/// The sites, and under which address they are served.
pub(crate) struct Sites {
    pub(crate) shelf: Arc<Shelf>,
    /// `http://127.0.0.1:8001/`.
    pub(crate) base: String,
}

/// The server with the tool.
pub(crate) fn server(sites: Sites) -> Server<Sites> {
    Server::new(sites).tool("list", "The finished sites with their addresses, the newest first.", list)
}

#[derive(Deserialize, JsonSchema)]
struct List {}

#[derive(Serialize, JsonSchema)]
struct Listed {
    /// Its name.
    site_id: String,
    /// The title of its first page.
    title: String,
    /// Where to open it.
    url: String,
    /// How many pages it has.
    pages: u32,
    /// When its first page was written, ISO 8601 in UTC.
    modified_at: String,
}

async fn list(sites: Shared<Sites>, _call: Call, _args: List) -> Result<Vec<Listed>> {
    let shelf = sites.shelf.clone();
    let looked = tokio::task::spawn_blocking(move || shelf.sites()).await;
    let unreadable = || Error::new("the folder of the sites cannot be read; the log of sites says why");
    let found =
        looked.map_err(|error| unreadable().caused_by(error))?.map_err(|error| unreadable().caused_by(error))?;
    Ok(found.into_iter().map(|site| listed(site, &sites.base)).collect())
}

fn listed(site: Site, base: &str) -> Listed {
    Listed {
        url: format!("{base}{}/", site.id),
        modified_at: site.modified.format(&Rfc3339).unwrap_or_default(),
        site_id: site.id.into(),
        title: site.title,
        pages: site.pages,
    }
}
