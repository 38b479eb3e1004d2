//! The life of an Arc: start, serve, and end without losing a call.

use std::process::ExitCode;
use std::time::Duration;

use futures_util::future::BoxFuture;
use rmcp::model::CustomNotification;
use rmcp::{Peer, RoleServer, ServiceExt};
use spec::caller::DRAINING;
use spec::control::fd;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::handler::Handler;
use crate::host::Host;
use crate::inherit::{Inherited, notify};
use crate::server::Server;

/// Why an Arc cannot start.
pub type StartError = Box<dyn std::error::Error + Send + Sync>;

/// How long the peers may take to let go of an Arc that wants to end. Less than the ten seconds after which init kills.
const DRAIN_BOUND: Duration = Duration::from_secs(8);

/// Runs an Arc: `build` makes its server from what init tells. Returns when the Arc was idle for long enough, or was
/// asked to stop (`SIGTERM`).
pub fn run<S, F>(version: &'static str, build: F) -> ExitCode
where
    S: Send + Sync + 'static,
    F: AsyncFnOnce(Host) -> Result<Server<S>, StartError>,
{
    let inherited = Inherited::take_over();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // init puts time and name before each line; rmcp tells of every connection at `info`.
    let filter = filter.add_directive("rmcp=warn".parse().unwrap_or_default());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .without_time()
        .with_target(false)
        .with_ansi(false)
        .init();
    match start(inherited, version, build) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("cannot start: {error}");
            notify(&format!("STATUS={error}"));
            ExitCode::FAILURE
        }
    }
}

fn start<S, F>(inherited: Inherited, version: &'static str, build: F) -> Result<(), StartError>
where
    S: Send + Sync + 'static,
    F: AsyncFnOnce(Host) -> Result<Server<S>, StartError>,
{
    // One thread: an Arc waits far more than it computes, and what does block goes to `spawn_blocking`.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener: std::os::unix::net::UnixListener = inherited.take(fd::MCP)?.into();
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let host = Host::from_environment(inherited, version)?;
        let tools = build(host.clone()).await?.into_tools();
        serve(listener, host.clone(), Handler::new(host, version, tools)).await
    })
}

/// Boxed, as all that reaches into `rmcp`: rustc compiles the body of an async function where it is polled, so each Arc
/// would compile the whole protocol anew.
fn serve(listener: UnixListener, host: Host, handler: Handler) -> BoxFuture<'static, Result<(), StartError>> {
    Box::pin(async move { accept(&listener, &host, &handler).await })
}

async fn accept(listener: &UnixListener, host: &Host, handler: &Handler) -> Result<(), StartError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut connections = JoinSet::new();
    let drain = CancellationToken::new();
    notify("READY=1");
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                connections.spawn(connection(stream, handler.clone(), drain.clone()));
            }
            Some(_) = connections.join_next() => {}
            _ = terminate.recv() => break,
            () = idle(host) => break,
        }
    }
    notify("STOPPING=1");
    drain.cancel();
    let ended = async {
        while connections.join_next().await.is_some() {}
        host.activity().ended().await;
    };
    if tokio::time::timeout(DRAIN_BOUND, ended).await.is_err() {
        tracing::warn!("calls were still going on after {DRAIN_BOUND:?}: they are broken off");
    }
    Ok(())
}

async fn idle(host: &Host) {
    match host.idle_exit() {
        Some(period) => host.activity().idle_for(period).await,
        None => std::future::pending().await,
    }
}

/// Serves one connection until its peer closes it; once `drain` says so, asks the peer to.
async fn connection(stream: UnixStream, handler: Handler, drain: CancellationToken) {
    let running = tokio::select! {
        served = handler.serve(stream) => served,
        () = drain.cancelled() => return,
    };
    let running = match running {
        Ok(running) => running,
        Err(error) => return tracing::debug!(%error, "a connection ended before its first request"),
    };
    let peer = running.peer().clone();
    let waiting = running.waiting();
    tokio::pin!(waiting);
    tokio::select! {
        ended = &mut waiting => return tracing::debug!(?ended, "a connection ended"),
        () = drain.cancelled() => ask_to_close(&peer).await,
    }
    let _ = waiting.await;
}

async fn ask_to_close(peer: &Peer<RoleServer>) {
    let notification = CustomNotification::new(DRAINING, None);
    if let Err(error) = peer.send_notification(notification.into()).await {
        tracing::debug!(%error, "a connection ended while it was asked to");
    }
}
