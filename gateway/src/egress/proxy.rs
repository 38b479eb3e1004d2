//! The proxy as HTTP sees it: CONNECT for everything, requests with a full address for plain HTTP (RFC 9110, 9.3.6;
//! RFC 9112, 3.2.2).

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER, UPGRADE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::grant::{Host, Target};
use super::tunnel::{self, Moved};
use super::{Account, Denial, Egress};

/// How long the head of a request may take, and how long connecting to a host may.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
const CONNECT_PATIENCE: Duration = Duration::from_secs(15);
/// A head is no longer than that.
const LONGEST_HEAD: usize = 64 << 10;
const MOST_HEADERS: usize = 100;
/// What waits between an Arc and a host where a request is carried over.
const BETWEEN: usize = 64 << 10;

/// Says why a request was refused, on one line, for clients that do not show bodies.
const DENIED: HeaderName = HeaderName::from_static("x-llmbasedos-denied");

type Answer = Response<BoxBody<Bytes, hyper::Error>>;

/// Serves one connection of an Arc.
pub(super) async fn serve(
    egress: Arc<Egress>,
    account: Arc<Account>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) {
    let service = service_fn(|request| {
        let (egress, account) = (Arc::clone(&egress), Arc::clone(&account));
        async move { Ok::<_, Infallible>(answer(egress, account, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(LONGEST_HEAD)
        .max_headers(MOST_HEADERS)
        // Who has asked and says no more still hears the answer.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    if let Err(error) = connection.await {
        tracing::debug!(arc = %account.name, %error, "an egress connection ended badly");
    }
}

async fn answer(egress: Arc<Egress>, account: Arc<Account>, request: Request<Incoming>) -> Answer {
    let target = match request.method() {
        &Method::CONNECT => Target::of_connect(request.uri()),
        _ => Target::of_absolute(request.uri()),
    };
    let target = match target {
        Ok(target) => target,
        Err(error) => return refusal(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let mut record = egress.open(&account, &target);
    match reach(&egress, &account, &target, &mut record).await {
        Ok((host, seat)) if request.method() == Method::CONNECT => {
            tokio::spawn(carry_tunnel(account, request, host, target, seat, record));
            Response::new(empty())
        }
        Ok((host, seat)) => carry_request(account, request, host, target, seat, record).await,
        Err(denial) => {
            let answer = refusal(denial.status(), &denial.to_string());
            // Who has used up what it may is not written down again and again: that would use up the audit's room.
            if !matches!(denial, Denial::Exhausted { .. }) {
                record.close(Some(&denial.to_string())).await;
            }
            answer
        }
    }
}

/// Connects to `target` if that is granted and in measure.
async fn reach(
    egress: &Egress,
    account: &Account,
    target: &Target,
    record: &mut Record,
) -> Result<(TcpStream, OwnedSemaphorePermit), Denial> {
    let name = account.name.as_str();
    let seat =
        account.meter.admit().map_err(|exhausted| Denial::Exhausted { arc: name.to_owned(), key: exhausted.0 })?;
    if !target.is_granted(&account.grants) {
        return Err(Denial::NotGranted { arc: name.to_owned(), target: target.to_string() });
    }
    if let Some(service) = egress.server_at(target) {
        record.address = Some(format!("{service}'s own loopback"));
        let connecting = egress.connect_inside(&service, target.port);
        let stream = tokio::time::timeout(CONNECT_PATIENCE, connecting)
            .await
            .map_err(|_| Denial::TimedOut(target.to_string()))?;
        return stream.map(|stream| (stream, seat)).ok_or_else(|| Denial::Unreachable(target.to_string()));
    }
    let resolved = match &target.host {
        Host::Address(address) => vec![*address],
        Host::Name(host) => egress
            .names
            .resolve(host)
            .await
            .map_err(|error| Denial::NotResolved { target: target.to_string(), why: error.to_string() })?,
    };
    let mut reachable = target.reachable(&resolved);
    if reachable.iter().any(|address| egress.is_gateway(*address)) {
        return Err(Denial::Gateway(name.to_owned()));
    }
    reachable.retain(|address| !address.ip().is_unspecified());
    if reachable.is_empty() {
        let address = resolved.first().map(ToString::to_string).unwrap_or_default();
        return Err(Denial::Inside { arc: name.to_owned(), target: target.to_string(), address, port: target.port });
    }
    // To the addresses that were judged, whatever the name leads to by now.
    let connecting = TcpStream::connect(&*reachable);
    match tokio::time::timeout(CONNECT_PATIENCE, connecting).await {
        Ok(Ok(stream)) => {
            record.address = stream.peer_addr().ok().map(|address| address.to_string());
            // Small pieces are not held back: on the way through a proxy that would add up.
            let _ = stream.set_nodelay(true);
            Ok((stream, seat))
        }
        Ok(Err(error)) => {
            tracing::debug!(arc = name, %target, %error, "cannot connect");
            Err(Denial::Unreachable(target.to_string()))
        }
        Err(_) => Err(Denial::TimedOut(target.to_string())),
    }
}

/// Carries a tunnel once the Arc has begun to use it.
async fn carry_tunnel(
    account: Arc<Account>,
    request: Request<Incoming>,
    host: TcpStream,
    target: Target,
    _seat: OwnedSemaphorePermit,
    record: Record,
) {
    let moved = Arc::clone(&record.moved);
    let carried = async {
        let upgraded = hyper::upgrade::on(request).await.map_err(|_| tunnel::TunnelError::Silent)?;
        let mut client = TokioIo::new(upgraded);
        let mut host = host;
        if let Host::Name(name) = &target.host {
            let hello = tunnel::check_hello(&mut client, name).await?;
            moved.up.fetch_add(u64::try_from(hello.len()).unwrap_or(0), Ordering::Relaxed);
            tokio::io::AsyncWriteExt::write_all(&mut host, &hello).await.map_err(tunnel::TunnelError::Broken)?;
        }
        let meter = Some(&account.meter).filter(|_| !target.is_loopback());
        tunnel::pump(client, host, meter, &moved).await
    };
    let ended = account.closed.run_until_cancelled(carried).await;
    let trouble = ended.and_then(Result::err).map(|error| error.to_string());
    record.close(trouble.as_deref()).await;
}

/// Carries one plain request and its answer.
async fn carry_request(
    account: Arc<Account>,
    mut request: Request<Incoming>,
    host: TcpStream,
    target: Target,
    seat: OwnedSemaphorePermit,
    record: Record,
) -> Answer {
    let (ours, theirs) = tokio::io::duplex(BETWEEN);
    let moved = Arc::clone(&record.moved);
    let is_metered = !target.is_loopback();
    let shown = target.to_string();
    tokio::spawn(async move {
        let meter = Some(&account.meter).filter(|_| is_metered);
        let ended = account.closed.run_until_cancelled(tunnel::pump(theirs, host, meter, &moved)).await;
        drop(seat);
        let trouble = ended.and_then(Result::err).map(|error| error.to_string());
        record.close(trouble.as_deref()).await;
    });
    strip(request.headers_mut());
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
    let (Ok(uri), Ok(authority)) = (path.parse(), HeaderValue::from_str(&authority)) else {
        return refusal(StatusCode::BAD_REQUEST, "the address cannot be read");
    };
    *request.uri_mut() = uri;
    request.headers_mut().insert(HOST, authority);
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(ours)).await;
    let Ok((mut sender, connection)) = handshake else {
        return refusal(StatusCode::BAD_GATEWAY, &format!("{shown} does not answer"));
    };
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a host broke off");
        }
    });
    match sender.send_request(request).await {
        Ok(mut response) => {
            strip(response.headers_mut());
            // That is the proxy's own to say.
            response.headers_mut().remove(DENIED);
            response.map(BodyExt::boxed)
        }
        Err(_) => refusal(StatusCode::BAD_GATEWAY, &format!("{shown} does not answer as HTTP does")),
    }
}

/// Takes out what is between two neighbours and nobody else's (RFC 9110, 7.6.1).
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let fixed = [CONNECTION, TE, TRAILER, UPGRADE];
    let proxy = ["proxy-connection", "proxy-authorization", "keep-alive"].map(HeaderName::from_static);
    for name in named.iter().chain(&fixed).chain(&proxy) {
        headers.remove(name);
    }
}

fn refusal(status: StatusCode, words: &str) -> Answer {
    tracing::debug!(%status, words, "an egress request is refused");
    let mut response =
        Response::new(Full::new(Bytes::from(format!("{words}\n"))).map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    if let Ok(value) = HeaderValue::from_str(words) {
        response.headers_mut().insert(DENIED, value);
    }
    response
}

fn empty() -> BoxBody<Bytes, hyper::Error> {
    Full::default().map_err(|never| match never {}).boxed()
}

/// What is written down of a connection.
pub(super) struct Record {
    pub(super) egress: Arc<Egress>,
    pub(super) arc: spec::Name,
    pub(super) target: String,
    pub(super) address: Option<String>,
    pub(super) moved: Arc<Moved>,
    pub(super) begun: Instant,
}

impl Record {
    /// Writes it down; `trouble` is why it ended, where it was not by itself.
    async fn close(self, trouble: Option<&str>) {
        let (up, down) = (self.moved.up.load(Ordering::Relaxed), self.moved.down.load(Ordering::Relaxed));
        self.egress.write_down(&self, up, down, trouble).await;
    }
}
