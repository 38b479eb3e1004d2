//! Secrets hidden in what goes wrong: in errors, and in the results of tools that failed. The gateway does not know them;
//! init tells it by what they are found (`spec::redaction`). What a tool answers when all is well is its own affair.

use std::sync::{Arc, PoisonError, RwLock};

use serde_json::value::RawValue;
use spec::control::Fingerprints;
use spec::redaction::Redactor;

use crate::arc::Answer;
use crate::outcome::is_failure;

/// Hides the secrets that it was told of last.
#[derive(Default)]
pub(crate) struct Curtain {
    redactor: RwLock<Arc<Redactor>>,
}

impl Curtain {
    /// From now on hides the secrets that these know.
    pub(crate) fn know(&self, fingerprints: &Fingerprints) {
        let redactor = Arc::new(Redactor::new(fingerprints));
        *self.redactor.write().unwrap_or_else(PoisonError::into_inner) = redactor;
    }

    /// `answer` without secrets, where it is an error or the result of a tool that failed.
    pub(crate) fn hide(&self, answer: Answer) -> Answer {
        let redactor = Arc::clone(&self.redactor.read().unwrap_or_else(PoisonError::into_inner));
        match answer {
            Err(mut fault) => {
                fault.message = redactor.redact(&fault.message).into_owned();
                let data = fault.data.as_ref().map(|data| redactor.redact(data.get()).into_owned());
                fault.data = data.and_then(|data| RawValue::from_string(data).ok());
                Err(fault)
            }
            Ok(result) if may_be_failure(&result) && is_failure(&result) => {
                Ok(redactor.redact_bytes(&result).into_owned().into())
            }
            Ok(result) => Ok(result),
        }
    }
}

/// Whether a result is worth to be read for it: most are not, and some are long.
fn may_be_failure(result: &[u8]) -> bool {
    const MEMBER: &[u8] = b"\"isError\"";
    result.windows(MEMBER.len()).any(|window| window == MEMBER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Fault;

    #[test]
    fn errors_and_failures_lose_secrets_and_results_stay_as_they_are() {
        let curtain = Curtain::default();
        let mut prints = Fingerprints::new([1; 32]);
        assert!(prints.add(b"sk-\"canary\"-1"));
        curtain.know(&prints);
        let fault = Fault::new(1, "no sk-\"canary\"-1").with_data(&"sk-\"canary\"-1");
        let hidden = curtain.hide(Err(fault)).expect_err("still an error");
        assert_eq!((hidden.message.as_str(), hidden.data.expect("kept").get()), ("no [secret]", "\"[secret]\""));
        let result = |is_error: bool| {
            let text = r#"{"content":[{"type":"text","text":"sk-\"canary\"-1"}],"isError":"#;
            let answer = curtain.hide(Ok(format!("{text}{is_error}}}").into_bytes().into()));
            String::from_utf8(answer.expect("a result").to_vec()).expect("text")
        };
        assert_eq!(result(true), r#"{"content":[{"type":"text","text":"[secret]"}],"isError":true}"#);
        assert!(result(false).contains("canary"));
    }
}
