//! The channel to init, on which it passes on what is asked of Wi-Fi networks (`spec::control`): newline JSON-RPC.

use std::env;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use spec::caller::code;
use spec::control::{WIFI_FORGET, WIFI_JOIN, WIFI_SCAN, fd};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::wifi::Ask;

/// The first inherited descriptor, `SD_LISTEN_FDS_START` of sd_listen_fds(3).
const FIRST: RawFd = 3;

#[derive(Deserialize)]
struct Request {
    id: u64,
    method: String,
    #[serde(default)]
    params: Value,
}

/// Takes over the channel, where init has handed one over. To be called once, first of all.
pub(crate) fn take_over() -> Option<UnixStream> {
    let for_us = env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    let names = env::var("LISTEN_FDNAMES").ok().filter(|_| for_us)?;
    let (_, number) = names.split(':').zip(FIRST..).find(|(name, _)| *name == fd::NETWORK)?;
    #[expect(unsafe_code, reason = "a number becomes an owned descriptor in this one place")]
    // SAFETY: LISTEN_PID says that this descriptor was handed to this very process for it to own, and it is wrapped once,
    // before anything else opens or closes descriptors.
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    Some(UnixStream::from(descriptor))
}

/// Passes on what init asks, for as long as it does.
pub(crate) async fn listen(channel: UnixStream, asks: mpsc::Sender<Ask>) -> anyhow::Result<()> {
    channel.set_nonblocking(true).context("cannot use the channel to init")?;
    let channel = tokio::net::UnixStream::from_std(channel).context("cannot use the channel to init")?;
    let (read, write) = channel.into_split();
    let write = Arc::new(Mutex::new(write));
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await.context("cannot hear init")? {
        match serde_json::from_str::<Request>(&line) {
            Ok(request) => drop(tokio::spawn(answer(request, asks.clone(), Arc::clone(&write)))),
            // Its text may hold a passphrase.
            Err(_) => tracing::warn!("init asks what cannot be understood"),
        }
    }
    Ok(())
}

async fn answer(request: Request, asks: mpsc::Sender<Ask>, write: Arc<Mutex<OwnedWriteHalf>>) {
    let Request { id, method, params } = request;
    let outcome = match method.as_str() {
        WIFI_SCAN => ask(&asks, Ask::Scan).await,
        WIFI_JOIN => match serde_json::from_value(params) {
            Ok(join) => ask(&asks, |answer| Ask::Join(join, answer)).await.map(|_| json!({})),
            Err(error) => Err(error.to_string()),
        },
        WIFI_FORGET => match serde_json::from_value(params) {
            Ok(by_ssid) => ask(&asks, |answer| Ask::Forget(by_ssid, answer)).await.map(|_| json!({})),
            Err(error) => Err(error.to_string()),
        },
        _ => Err(format!("netd does not know {method}")),
    };
    let message = match outcome {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(message) => {
            json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code::INTERNAL, "message": message } })
        }
    };
    if let Err(error) = write.lock().await.write_all(format!("{message}\n").as_bytes()).await {
        tracing::warn!("cannot answer init: {error}");
    }
}

async fn ask<T: Serialize>(
    asks: &mpsc::Sender<Ask>,
    form: impl FnOnce(oneshot::Sender<Result<T, String>>) -> Ask,
) -> Result<Value, String> {
    let gone = || "netd has no answer: its log says why".to_owned();
    let (sender, answer) = oneshot::channel();
    asks.send(form(sender)).await.map_err(|_| gone())?;
    let answer = answer.await.map_err(|_| gone())??;
    serde_json::to_value(answer).map_err(|error| error.to_string())
}
