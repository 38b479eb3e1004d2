//! The tools: their arguments and results.

use kit::{Call, Error, Result, Server, Shared};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::content::Encoding;
use crate::error::FilesError;
use crate::folder::Folder;
use crate::listing::Listed;
use crate::media_type;
use crate::reading::MOST;
use crate::search::Found;
use crate::virtual_path::VirtualPath;

const DEFAULT_FOUND: u32 = 10;
const MOST_FOUND: u32 = 100;

/// The server with all the tools.
pub(crate) fn server(folder: Folder) -> Server<Folder> {
    Server::new(folder)
        .tool("list", "The files and folders in a folder, in the order of their names.", list)
        .tool("read", "What a file contains, as text or in base64.", read)
        .tool("write", "Writes a file whole, or at its end; makes the folders above it.", write)
        .tool("delete", "Deletes a file or a folder.", delete)
        .tool("search", "The files whose name or text has the words of a query, the best first.", search)
}

/// Files are worked on in a thread of their own: disks make waits.
async fn work<T: Send + 'static>(
    folder: Shared<Folder>,
    work: impl FnOnce(&Folder) -> std::result::Result<T, FilesError> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(move || work(&folder)).await;
    done.map_err(|error| Error::new("the work on the file was broken off").caused_by(error))?.map_err(Error::from)
}

#[derive(Deserialize, JsonSchema)]
struct List {
    /// The folder; `/` is the whole of what was granted.
    #[serde(default = "VirtualPath::root")]
    path: VirtualPath,
}

async fn list(folder: Shared<Folder>, _call: Call, args: List) -> Result<Vec<Listed>> {
    work(folder, move |folder| folder.list(&args.path)).await
}

#[derive(Deserialize, JsonSchema)]
struct Read {
    /// The file.
    path: VirtualPath,
    /// How to answer what it contains.
    #[serde(default)]
    encoding: Encoding,
    /// The byte to begin with.
    #[serde(default)]
    offset: u64,
    /// How many bytes to answer; all unless stated, up to 4 MiB.
    #[schemars(range(min = 1, max = MOST))]
    limit: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
struct Content {
    /// The file.
    path: String,
    /// What it contains.
    content: String,
    /// How that is written.
    encoding: Encoding,
    /// What it is, by the file's name.
    mime_type: &'static str,
    /// The offset to go on with, where a limit left something out.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<u64>,
}

async fn read(folder: Shared<Folder>, _call: Call, args: Read) -> Result<Content> {
    let Read { path, encoding, offset, limit } = args;
    work(folder, move |folder| {
        let part = folder.read(&path, encoding, offset, limit)?;
        let mime_type = media_type::of(path.split().map_or("", |(_, name)| name), encoding == Encoding::Text);
        Ok(Content { path: path.to_string(), content: part.content, encoding, mime_type, next: part.next })
    })
    .await
}

#[derive(Deserialize, JsonSchema)]
struct Write {
    /// The file.
    path: VirtualPath,
    /// What it is to contain.
    content: String,
    /// How that is written.
    #[serde(default)]
    encoding: Encoding,
    /// Whether to write at its end instead of in its place.
    #[serde(default)]
    append: bool,
}

#[derive(Serialize, JsonSchema)]
struct Written {
    /// The file.
    path: String,
    /// How many bytes were written.
    bytes_written: usize,
    /// Always `ok`.
    status: &'static str,
}

async fn write(folder: Shared<Folder>, _call: Call, args: Write) -> Result<Written> {
    let Write { path, content, encoding, append } = args;
    let bytes = encoding.decode(content).map_err(|message| Error::invalid("/content", message))?;
    work(folder, move |folder| {
        if append {
            folder.append(&path, &bytes)?
        } else {
            folder.write(&path, &bytes)?
        }
        Ok(Written { path: path.to_string(), bytes_written: bytes.len(), status: "ok" })
    })
    .await
}

#[derive(Deserialize, JsonSchema)]
struct Delete {
    /// The file or folder.
    path: VirtualPath,
    /// Whether to delete what is in a folder as well.
    #[serde(default)]
    recursive: bool,
}

#[derive(Serialize, JsonSchema)]
struct Deleted {
    /// What was deleted.
    path: String,
    /// Always `ok`.
    status: &'static str,
}

async fn delete(folder: Shared<Folder>, _call: Call, args: Delete) -> Result<Deleted> {
    work(folder, move |folder| {
        folder.delete(&args.path, args.recursive)?;
        Ok(Deleted { path: args.path.to_string(), status: "ok" })
    })
    .await
}

#[derive(Deserialize, JsonSchema)]
struct Search {
    /// The words to look for.
    #[schemars(length(min = 1, max = 1000))]
    query: String,
    /// How many to answer at the most; 10 unless stated.
    #[schemars(range(min = 1, max = MOST_FOUND))]
    k: Option<u32>,
    /// The folder to look in; all of them unless stated.
    #[serde(default = "VirtualPath::root")]
    scope: VirtualPath,
}

async fn search(folder: Shared<Folder>, _call: Call, args: Search) -> Result<Vec<Found>> {
    let most = usize::try_from(args.k.unwrap_or(DEFAULT_FOUND)).unwrap_or(usize::MAX);
    work(folder, move |folder| folder.search(&args.query, most, &args.scope)).await
}
