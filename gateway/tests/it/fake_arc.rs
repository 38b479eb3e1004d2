//! An Arc that is a task of the test: newline MCP in plain JSON. What is called there, the test answers.

use std::os::unix::net::UnixListener as StdListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

use crate::client::Client;
use crate::system::{buffered, next_line, soon};

/// What reaches an Arc, beside requests for its list of tools.
pub(crate) struct Received {
    /// The message.
    pub(crate) message: Value,
    /// The same as it came.
    pub(crate) line: String,
    answers: mpsc::UnboundedSender<Value>,
}

impl Received {
    pub(crate) fn arguments(&self) -> &Value {
        &self.message["params"]["arguments"]
    }

    pub(crate) fn meta(&self) -> &Value {
        &self.message["params"]["_meta"]
    }

    /// The run that the call belongs to.
    pub(crate) fn run(&self) -> String {
        self.meta()["llmbasedos/caller"]["run"].as_str().expect("a run").to_owned()
    }

    /// Answers with `structured`.
    pub(crate) fn answer(&self, structured: &Value) {
        let content = json!([{ "type": "text", "text": structured.to_string() }]);
        self.answer_result(&json!({ "resultType": "complete", "content": content, "structuredContent": structured }));
    }

    /// Answers with a whole result.
    pub(crate) fn answer_result(&self, result: &Value) {
        self.send(json!({ "jsonrpc": "2.0", "id": self.message["id"], "result": result }));
    }

    /// Sends any message.
    pub(crate) fn send(&self, message: Value) {
        let _ = self.answers.send(message);
    }
}

/// A fake Arc, which listens as long as it lives.
pub(crate) struct FakeArc {
    name: String,
    more: String,
    folder: TempDir,
    tools: Arc<Mutex<Value>>,
    received: Mutex<mpsc::UnboundedReceiver<Received>>,
    connections: Arc<Mutex<Vec<JoinHandle<()>>>>,
    accepting: JoinHandle<()>,
    /// Keeps the socket listening while nobody accepts, as init does.
    _listener: StdListener,
    /// A permit for each connection that the gateway closed.
    closed: Arc<Semaphore>,
    /// How often a connection came in.
    connected: Arc<watch::Sender<usize>>,
}

/// A tool with string parameters.
pub(crate) fn tool(name: &str, parameters: &[&str]) -> Value {
    let properties: serde_json::Map<String, Value> =
        parameters.iter().map(|name| ((*name).to_owned(), json!({ "type": "string" }))).collect();
    json!({
        "name": name, "description": format!("does {name}"),
        "inputSchema": { "type": "object", "properties": properties },
    })
}

impl FakeArc {
    /// An Arc called `name`; `more` is added to its manifest.
    pub(crate) fn new(name: &str, more: &str, tools: Value) -> Self {
        let (sender, received) = mpsc::unbounded_channel();
        let tools = Arc::new(Mutex::new(tools));
        let closed = Arc::new(Semaphore::new(0));
        let serve = {
            let (tools, closed) = (Arc::clone(&tools), Arc::clone(&closed));
            move |_, stream| serve(stream, Arc::clone(&tools), sender.clone(), Arc::clone(&closed))
        };
        let mut arc = Self::listening(name, more, serve);
        (arc.tools, arc.received, arc.closed) = (tools, Mutex::new(received), closed);
        arc
    }

    /// An MCP server that is not ours, in the place of a process whose standard input and output the connection is. How
    /// it takes a message, on which connection (from 1 on), `react` says.
    pub(crate) fn foreign(
        name: &str,
        more: &str,
        react: impl Fn(usize, &Value) -> Reaction + Send + Sync + 'static,
    ) -> Self {
        let react = Arc::new(react);
        let closed = Arc::new(Semaphore::new(0));
        let serve = {
            let closed = Arc::clone(&closed);
            move |number, stream| serve_foreign(stream, number, Arc::clone(&react), Arc::clone(&closed))
        };
        let mut arc = Self::listening(name, &format!("transport = \"stdio\"\n{more}"), serve);
        arc.closed = closed;
        arc
    }

    /// An Arc of which each connection, numbered from 1 on, is served by `serve`.
    fn listening<F>(name: &str, more: &str, serve: impl Fn(usize, UnixStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = StdListener::bind(folder.path().join("mcp.sock")).expect("a socket");
        kept.set_nonblocking(true).expect("a socket");
        let listener = UnixListener::from_std(kept.try_clone().expect("a descriptor")).expect("a socket");
        let (connections, connected) = (Arc::new(Mutex::new(Vec::new())), Arc::new(watch::Sender::new(0)));
        let accepting = tokio::spawn({
            let (connections, connected) = (Arc::clone(&connections), Arc::clone(&connected));
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    connected.send_modify(|count| *count += 1);
                    let number = *connected.borrow();
                    connections.lock().expect("sound").push(tokio::spawn(serve(number, stream)));
                }
            }
        });
        Self {
            name: name.to_owned(),
            more: more.to_owned(),
            folder,
            tools: Arc::default(),
            received: Mutex::new(mpsc::unbounded_channel().1),
            connections,
            accepting,
            _listener: kept,
            closed: Arc::new(Semaphore::new(0)),
            connected,
        }
    }

    /// An Arc that answers each call with its arguments.
    pub(crate) fn echo(name: &str, more: &str, tools: Value) -> Self {
        let arc = Self::new(name, more, tools);
        let (_, none) = mpsc::unbounded_channel();
        let mut received = std::mem::replace(&mut *arc.received.lock().expect("sound"), none);
        tokio::spawn(async move {
            while let Some(call) = received.recv().await {
                if call.message["method"] == "tools/call" {
                    call.answer(call.arguments());
                }
            }
        });
        arc
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn manifest(&self) -> String {
        let name = &self.name;
        let head =
            format!("name = \"{name}\"\nversion = \"1\"\ndescription = \"the {name}\"\nexec = [\"/bin/{name}\"]\n");
        head + &self.more
    }

    /// What its manifest says beside the usual, from the next `arc.added` on.
    pub(crate) fn set_manifest(&mut self, more: &str) {
        more.clone_into(&mut self.more);
    }

    pub(crate) fn socket(&self) -> String {
        self.folder.path().join("mcp.sock").display().to_string()
    }

    /// The socket on which it calls, made by the test as init does.
    pub(crate) fn caller_listener(&self) -> StdListener {
        let path = self.folder.path().join("caller.sock");
        let _ = std::fs::remove_file(&path);
        StdListener::bind(path).expect("a socket")
    }

    /// The socket on which it goes out, made by the test as init does.
    pub(crate) fn egress_listener(&self) -> StdListener {
        let path = self.egress_socket();
        let _ = std::fs::remove_file(&path);
        StdListener::bind(path).expect("a socket")
    }

    /// Where it finds the egress proxy.
    pub(crate) fn egress_socket(&self) -> PathBuf {
        self.folder.path().join("egress.sock")
    }

    /// A connection of this Arc to the gateway.
    pub(crate) async fn caller(&self) -> Client {
        Client::connect(&self.folder.path().join("caller.sock")).await
    }

    /// Offers other tools from now on.
    pub(crate) fn set_tools(&self, tools: Value) {
        *self.tools.lock().expect("sound") = tools;
    }

    /// What reaches it next.
    #[expect(clippy::await_holding_lock, reason = "one test has one reader of an Arc's calls")]
    pub(crate) async fn next(&self) -> Received {
        let mut received = self.received.lock().expect("sound");
        soon("a call", received.recv()).await.expect("the Arc lives")
    }

    /// Waits until the gateway has closed a connection.
    pub(crate) async fn closed(&self) {
        soon("the end of a connection", self.closed.acquire()).await.expect("it is open").forget();
    }

    /// Whether something reached it that was not looked at.
    pub(crate) fn has_more(&self) -> bool {
        !self.received.lock().expect("sound").is_empty()
    }

    /// How often the gateway has connected.
    pub(crate) fn connections(&self) -> usize {
        *self.connected.borrow()
    }

    /// Waits until the gateway has connected so often.
    pub(crate) async fn connected_times(&self, times: usize) {
        let mut connected = self.connected.subscribe();
        soon("a connection", connected.wait_for(|count| *count >= times)).await.expect("it listens");
    }

    /// Ends all connections, as when the process dies; the socket is still there.
    pub(crate) fn die(&self) {
        self.connections.lock().expect("sound").drain(..).for_each(|connection| connection.abort());
    }

    /// Is not there any more and never answers; its socket is.
    pub(crate) fn hang(&self) {
        self.accepting.abort();
        self.die();
    }
}

impl Drop for FakeArc {
    fn drop(&mut self) {
        self.accepting.abort();
        self.die();
    }
}

/// How a server that is not ours takes a message.
pub(crate) enum Reaction {
    /// It writes these lines; none: it says nothing.
    Lines(Vec<String>),
    /// It ends.
    End,
}

impl Reaction {
    /// It answers `message` with this result.
    pub(crate) fn result(message: &Value, result: &Value) -> Self {
        Self::Lines(vec![json!({ "jsonrpc": "2.0", "id": message["id"], "result": result }).to_string()])
    }

    /// It does not know what it is asked for.
    pub(crate) fn unknown(message: &Value) -> Self {
        let error = json!({ "code": -32601, "message": "Method not found" });
        Self::Lines(vec![json!({ "jsonrpc": "2.0", "id": message["id"], "error": error }).to_string()])
    }

    /// It writes `line` before.
    pub(crate) fn after(self, line: &str) -> Self {
        match self {
            Self::Lines(lines) => Self::Lines([vec![line.to_owned()], lines].concat()),
            Self::End => Self::End,
        }
    }
}

async fn serve_foreign(
    stream: UnixStream,
    number: usize,
    react: Arc<impl Fn(usize, &Value) -> Reaction>,
    closed: Arc<Semaphore>,
) {
    let (read, mut write) = stream.into_split();
    let mut reader = buffered(read);
    while let Some(line) = next_line(&mut reader).await {
        let message: Value = serde_json::from_str(&line).expect("the gateway writes JSON on a line");
        let Reaction::Lines(lines) = react(number, &message) else { return };
        for line in lines {
            let _ = write.write_all(format!("{line}\n").as_bytes()).await;
        }
    }
    closed.add_permits(1);
}

async fn serve(
    stream: UnixStream,
    tools: Arc<Mutex<Value>>,
    sender: mpsc::UnboundedSender<Received>,
    closed: Arc<Semaphore>,
) {
    let (read, write) = stream.into_split();
    let mut reader = buffered(read);
    let (answers, to_write) = mpsc::unbounded_channel();
    let writing = write_all(write, to_write);
    let reading = async {
        while let Some(line) = next_line(&mut reader).await {
            let message: Value = serde_json::from_str(&line).expect("the gateway writes JSON on a line");
            let meta = &message["params"]["_meta"];
            if message["id"].is_u64() {
                assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], "2026-07-28", "{message}");
                assert!(meta["io.modelcontextprotocol/clientCapabilities"].is_object(), "{message}");
            }
            if message["method"] == "tools/list" {
                let result = json!({ "tools": *tools.lock().expect("sound") });
                let _ = answers.send(json!({ "jsonrpc": "2.0", "id": message["id"], "result": result }));
            } else {
                let _ = sender.send(Received { message, line, answers: answers.clone() });
            }
        }
        closed.add_permits(1);
    };
    tokio::select! { () = writing => {}, () = reading => {} }
}

async fn write_all(mut write: OwnedWriteHalf, mut answers: mpsc::UnboundedReceiver<Value>) {
    while let Some(answer) = answers.recv().await {
        if write.write_all(format!("{answer}\n").as_bytes()).await.is_err() {
            return;
        }
    }
    std::future::pending().await
}
