//! What reaches a client beside answers: the progress of its calls, and that there are other tools now.

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio_util::bytes::Bytes;

use crate::frame::End;

/// So many notices wait for a session; further ones are dropped, as progress is of the moment.
pub(crate) const QUEUE: usize = 64;

/// The most bytes of a notice; a longer one is no progress and is dropped.
const MOST: usize = 64 << 10;

/// A message for a client, and what ends it.
#[derive(Debug)]
pub(crate) struct Notice {
    pub(crate) text: Vec<u8>,
    pub(crate) end: End,
}

/// Where the progress of one call goes.
#[derive(Debug)]
pub(crate) struct Progress {
    /// The token by which the client knows the call, as JSON.
    pub(crate) token: Bytes,
    /// The client's session.
    pub(crate) to: mpsc::Sender<Notice>,
    /// How the client ends its messages.
    pub(crate) end: End,
}

impl Progress {
    /// Passes on the params of an Arc's progress notification, under the client's own token.
    pub(crate) fn pass(&self, params: &RawValue) {
        #[derive(Deserialize)]
        struct Params<'p> {
            #[serde(borrow)]
            progress: &'p RawValue,
            #[serde(borrow, default)]
            total: Option<&'p RawValue>,
            #[serde(borrow, default)]
            message: Option<&'p RawValue>,
            #[serde(borrow, default, rename = "_meta")]
            meta: Option<&'p RawValue>,
        }
        if params.get().len() > MOST {
            return;
        }
        let Ok(params) = serde_json::from_str::<Params<'_>>(params.get()) else { return };
        let mut text = br#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"#.to_vec();
        text.extend_from_slice(&self.token);
        let members = [
            (&b",\"progress\":"[..], Some(params.progress)),
            (b",\"total\":", params.total),
            (b",\"message\":", params.message),
            (b",\"_meta\":", params.meta),
        ];
        for (name, value) in members.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            text.extend_from_slice(name);
            text.extend_from_slice(value.get().as_bytes());
        }
        text.extend_from_slice(b"}}");
        let _ = self.to.try_send(Notice { text, end: self.end });
    }
}

/// The notification that there are other tools now.
pub(crate) const TOOLS_CHANGED: &[u8] = br#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_passed_on_under_the_clients_token() {
        let (to, mut from) = mpsc::channel(1);
        let progress = Progress { token: Bytes::from_static(b"\"mine\""), to, end: End::Newline };
        let params = r#"{"progressToken":7,"progress":0.5,"message":"half","_meta":{"llmbasedos/stream":true}}"#;
        progress.pass(serde_json::from_str(params).expect("JSON"));
        progress.pass(serde_json::from_str(params).expect("JSON"));
        let expected = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"mine","progress":0.5,"message":"half","_meta":{"llmbasedos/stream":true}}}"#;
        assert_eq!(from.try_recv().expect("one").text, expected.as_bytes());
        assert!(from.try_recv().is_err(), "what does not fit is dropped");
    }
}
