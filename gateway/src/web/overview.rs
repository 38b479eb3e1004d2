//! How the machine is doing, as init says it. PID 1 is asked once in a while, however many strangers there are who want to
//! know.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use spec::control::{MachineStatus, SERVICES, STATUS, ServiceInfo};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::control::Control;

/// So long strangers are told what init said last.
const FRESH: Duration = Duration::from_secs(1);

/// What init has said.
#[derive(Debug, Default)]
pub(crate) struct Overview {
    /// Nothing where it did not answer.
    pub(super) machine: Option<MachineStatus>,
    pub(super) services: Vec<ServiceInfo>,
}

impl Overview {
    /// As it is now.
    pub(super) async fn ask(control: &Control) -> Self {
        let (machine, services) = tokio::join!(ask(control, STATUS), ask(control, SERVICES));
        Self { machine, services: services.unwrap_or_default() }
    }
}

async fn ask<T: DeserializeOwned>(control: &Control, method: &str) -> Option<T> {
    let answer = control.ask(method, b"null").await;
    answer.ok().and_then(|answer| serde_json::from_slice(&answer).ok())
}

/// What strangers are told.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<Option<(Instant, Arc<Overview>)>>);

impl Told {
    /// As it was a moment ago. Whoever wants to know while init is asked waits for that answer.
    pub(super) async fn overview(&self, control: &Control) -> Arc<Overview> {
        let mut last = self.0.lock().await;
        if let Some((_, overview)) = last.as_ref().filter(|(when, _)| when.elapsed() < FRESH) {
            return Arc::clone(overview);
        }
        let overview = Arc::new(Overview::ask(control).await);
        *last = Some((Instant::now(), Arc::clone(&overview)));
        overview
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::UnixStream;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn init_is_asked_once_a_second_however_many_want_to_know() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let (control, mut incoming) = Control::start(ours);
        tokio::spawn(async move { while incoming.next().await.is_ok() {} });
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            let (read, mut write) = theirs.into_split();
            let mut lines = BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let request: serde_json::Value = serde_json::from_str(&line).expect("JSON");
                count.fetch_add(1, Ordering::Relaxed);
                let answer = format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":[]}}\n", request["id"]);
                write.write_all(answer.as_bytes()).await.expect("it reads");
            }
        });
        let told = Told::default();
        for second in 1..4 {
            for _ in 0..10 {
                tokio::join!(told.overview(&control), told.overview(&control));
            }
            assert_eq!(asked.load(Ordering::Relaxed), 2 * second, "STATUS and SERVICES");
            tokio::time::sleep(FRESH).await;
        }
    }
}
