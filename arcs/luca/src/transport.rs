//! A connection to the gateway as two halves that carry one JSON text at a time: a line on a UNIX socket, a text
//! frame on a WebSocket.

use std::io;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use spec::Token;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, UnixStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::{self, Message, protocol::WebSocketConfig};

use crate::address::Address;
use crate::tls::{self, Pin};
use crate::token;

/// The largest message that is taken; far above what a tool answers, far below what would hurt.
const MESSAGE_MAX: usize = 64 << 20;

/// TCP as it is, or in TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

type Socket = WebSocketStream<Box<dyn Stream>>;

/// The half that is read.
pub(crate) enum Incoming {
    /// Of a UNIX socket.
    Unix(BufReader<OwnedReadHalf>),
    /// Of a WebSocket.
    WebSocket(SplitStream<Socket>),
}

/// The half that is written.
pub(crate) enum Outgoing {
    /// Of a UNIX socket.
    Unix(OwnedWriteHalf),
    /// Of a WebSocket.
    WebSocket(SplitSink<Socket, Message>),
}

/// Connects, and shows `token` to a gateway that is reached over the network; the error is why not, in words.
pub(crate) async fn connect(address: &Address, token: Option<&Token>) -> Result<(Incoming, Outgoing), String> {
    match address {
        Address::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(|error| in_words(&error))?;
            let (read, write) = stream.into_split();
            Ok((Incoming::Unix(BufReader::new(read)), Outgoing::Unix(write)))
        }
        Address::WebSocket(url, pin) => {
            let config =
                WebSocketConfig::default().max_message_size(Some(MESSAGE_MAX)).max_frame_size(Some(MESSAGE_MAX));
            let request = request(url, token).map_err(refused)?;
            let stream = reach(&request, *pin).await?;
            let connecting = tokio_tungstenite::client_async_with_config(request, stream, Some(config));
            let (socket, _) = connecting.await.map_err(refused)?;
            let (write, read) = socket.split();
            Ok((Incoming::WebSocket(read), Outgoing::WebSocket(write)))
        }
    }
}

async fn reach(request: &Request, pin: Option<Pin>) -> Result<Box<dyn Stream>, String> {
    let uri = request.uri();
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = uri.port_u16().unwrap_or(if pin.is_some() { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await.map_err(|error| in_words(&error))?;
    stream.set_nodelay(true).map_err(|error| in_words(&error))?;
    let Some(pin) = pin else { return Ok(Box::new(stream)) };
    match tls::connect(stream, host, pin).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(format!("it does not show that it has the certificate of this digest: {error}")),
    }
}

fn request(url: &str, token: Option<&Token>) -> tungstenite::Result<Request> {
    let mut request = url.into_client_request()?;
    if let Some(token) = token {
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.as_str()))?;
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    Ok(request)
}

fn refused(error: tungstenite::Error) -> String {
    match error {
        tungstenite::Error::Io(error) => in_words(&error),
        tungstenite::Error::Http(answer) if answer.status() == StatusCode::UNAUTHORIZED => {
            format!("it wants its token: name a file that holds it with --token-file, or set {}", token::VARIABLE)
        }
        other => other.to_string(),
    }
}

fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "nothing listens there".to_owned(),
        io::ErrorKind::NotFound => "there is no such socket".to_owned(),
        io::ErrorKind::PermissionDenied => "this user may not open it".to_owned(),
        _ => error.to_string(),
    }
}

impl Incoming {
    /// The next message; `None` at the end of the connection, and an error, in words, when it broke.
    pub(crate) async fn next(&mut self) -> Result<Option<String>, String> {
        match self {
            Self::Unix(reader) => next_line(reader).await,
            Self::WebSocket(stream) => loop {
                match stream.next().await {
                    Some(Ok(Message::Text(text))) => return Ok(Some(text.as_str().to_owned())),
                    Some(Ok(Message::Close(_))) | None => return Ok(None),
                    Some(Ok(_)) => {}
                    Some(Err(tungstenite::Error::ConnectionClosed)) => return Ok(None),
                    Some(Err(error)) => return Err(error.to_string()),
                }
            },
        }
    }
}

async fn next_line(reader: &mut BufReader<OwnedReadHalf>) -> Result<Option<String>, String> {
    let mut line = Vec::new();
    let limit = u64::try_from(MESSAGE_MAX).unwrap_or(u64::MAX);
    reader.take(limit).read_until(b'\n', &mut line).await.map_err(|error| error.to_string())?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => String::from_utf8(line).map(Some).map_err(|_| "it sent text that is not UTF-8".to_owned()),
        Some(_) if line.len() + 1 == MESSAGE_MAX => Err(format!("it sent a message above {} MB", MESSAGE_MAX >> 20)),
        Some(_) => Err("it closed in the middle of a message".to_owned()),
    }
}

impl Outgoing {
    /// Sends one JSON text, which must hold no line break.
    pub(crate) async fn send(&mut self, text: String) -> Result<(), String> {
        match self {
            Self::Unix(stream) => {
                let mut line = text.into_bytes();
                line.push(b'\n');
                stream.write_all(&line).await.map_err(|error| error.to_string())
            }
            Self::WebSocket(sink) => sink.send(Message::text(text)).await.map_err(|error| error.to_string()),
        }
    }

    /// Says good-bye where the transport has a word for it.
    pub(crate) async fn close(&mut self) {
        // The peer may be gone already, and there is nobody to tell.
        let _ = match self {
            Self::Unix(stream) => stream.shutdown().await.map_err(|error| error.to_string()),
            Self::WebSocket(sink) => sink.close().await.map_err(|error| error.to_string()),
        };
    }
}
