//! Whose the machine is, as the gateway and its screen are told, and its light.

use serde_json::{Value, json};
use spec::caller::code;
use spec::control::{Certificate, Claimed, Code, Ownership, ServiceState};
use spec::{GatewayStart, SystemConfig, paths};

use super::Supervisor;
use super::end::Stage;
use super::peers::Peer;
use super::secrets::Keeping;
use super::service::Service;
use crate::boot::{Condition, Screen, Signs};
use crate::claim::{Claim, ClaimError};
use crate::command_line::{Mode, Options};
use crate::layout::Layout;
use crate::library::Complaint;
use crate::sys;

/// How much of the certificate's digest is shown beside a set-up code: ten bytes, which nobody finds another certificate
/// for, and which a person compares.
const SHOWN_OF_DIGEST: usize = 10 * 3 - 1;

/// Whose an appliance is. A developer's machine is the developer's.
pub(super) fn open(
    options: &Options,
    layout: &Layout,
    config: &SystemConfig,
    secrets: &mut Keeping,
    complaints: &mut Vec<Complaint>,
) -> Option<Claim> {
    if options.mode == Mode::Developer {
        return None;
    }
    let file = paths::gateway_claim(&layout.data);
    let (claim, made) = Claim::open(file.clone(), &config.gateway);
    if let Err(error) = made {
        let consequence = match claim.is_known() {
            true => "there will be another set-up code after the next start",
            false => "nobody can claim the machine or come in by a claim: restart it, or look after its disk",
        };
        complaints.push(Complaint::plain(format!("{}: {error}\n{consequence}", file.display())));
    }
    secrets.also_hide(claim.secrets());
    Some(claim)
}

impl Supervisor {
    /// What the gateway is told at its start.
    pub(super) fn gateway_start(&self) -> GatewayStart {
        GatewayStart {
            host_name: self.config.host_name().to_owned(),
            tokens: self.config.gateway.tokens.clone(),
            claimed: self.claim.as_ref().and_then(Claim::token).cloned(),
        }
    }

    /// Somebody has entered a code at the gateway's door.
    pub(super) fn enter_code(&mut self, peer: Peer, id: Option<Value>, entered: &str) {
        let now = self.clock.now();
        let Some(claim) = &mut self.claim else { return self.refuse_claim(peer, id) };
        match claim.enter(entered, now) {
            Ok(token) => {
                self.claim_changed();
                self.say("claim: somebody has entered the set-up code, and was given the token of the owner");
                self.show_claim();
                self.reply(peer, id, json!(Claimed { token: token.as_str().to_owned() }));
            }
            Err(error) => {
                let code = match &error {
                    ClaimError::Wait(_) => code::RATE,
                    ClaimError::Keep(_) => code::INTERNAL,
                    ClaimError::NotOpen | ClaimError::Wrong => code::AUTH,
                };
                // Who floods the door writes no log: the bound on wrong codes is one on these lines.
                if matches!(error, ClaimError::Wrong | ClaimError::Keep(_)) {
                    self.say(&format!("claim: refused: {error}"));
                }
                self.refuse(peer, id, code, error.to_string());
            }
        }
    }

    /// Whoever claimed the machine has shown the token.
    pub(super) fn confirm_claim(&mut self, peer: Peer, id: Option<Value>) {
        let Some(claim) = &mut self.claim else { return self.refuse_claim(peer, id) };
        match claim.confirm() {
            Ok(is_news) => {
                if is_news {
                    self.say("claim: the owner has shown the token: the machine is claimed");
                    self.show_claim();
                }
                self.reply(peer, id, json!({}));
            }
            Err(error) => self.refuse(peer, id, code::INTERNAL, format!("claim: cannot be written down: {error}")),
        }
    }

    /// The owner, who may have lost the token, wants a new code.
    pub(super) fn new_setup_code(&mut self, peer: Peer, id: Option<Value>) {
        let Some(claim) = &mut self.claim else { return self.refuse_claim(peer, id) };
        let made = claim.renew();
        self.claim_changed();
        match made {
            Ok(code) => {
                self.say("claim: there is a new set-up code");
                self.show_claim();
                self.reply(peer, id, json!(Code { code }));
            }
            Err(error) => self.refuse(peer, id, code::INTERNAL, format!("a new code cannot be kept: {error}")),
        }
    }

    /// The owner wants nobody to claim the machine anew.
    pub(super) fn withdraw_setup_code(&mut self, peer: Peer, id: Option<Value>) {
        let Some(claim) = &mut self.claim else { return self.refuse_claim(peer, id) };
        match claim.withdraw() {
            Ok(()) => {
                self.claim_changed();
                self.say("claim: the set-up code is void");
                self.show_claim();
                self.reply(peer, id, json!({}));
            }
            Err(error) => self.refuse(peer, id, code::INTERNAL, format!("the set-up code still counts: {error}")),
        }
    }

    fn refuse_claim(&mut self, peer: Peer, id: Option<Value>) {
        let message = "this is a developer's machine: it is its user's, and nobody claims it";
        self.refuse(peer, id, code::INTERNAL, message.to_owned());
    }

    /// The gateway has a certificate.
    pub(super) fn take_certificate(&mut self, peer: Peer, id: Option<Value>, certificate: Certificate) {
        let is_news = self.certificate.replace(certificate.clone()) != Some(certificate);
        if is_news && self.stage == Stage::Up {
            self.show_claim();
        }
        self.reply(peer, id, json!({}));
    }

    /// What is not for logs is other than before.
    fn claim_changed(&mut self) {
        self.secrets.also_hide(self.claim.iter().flat_map(Claim::secrets));
        self.secrets_changed();
    }

    fn show_claim(&self) {
        if self.mode == Mode::Appliance {
            let lines: Vec<String> = self.claim_lines().iter().map(Screen::line).collect();
            sys::write_screens(&lines.join("\n"));
        }
    }

    /// How to come in. A code of the owner's own is not shown, nor is any token.
    pub(super) fn claim_lines(&self) -> Vec<(&'static str, String)> {
        let Some(claim) = &self.claim else { return Vec::new() };
        let open = format!("open http://{}.local and enter", self.config.host_name());
        let words = match (claim.ownership(), claim.shown()) {
            (Ownership::Open, Some(code)) => format!("{open}   {code}"),
            (Ownership::Open, None) => format!("{open} the setup_code of llmbasedos.toml"),
            (Ownership::Reopened, Some(code)) => format!("yours, or to claim it anew {open}   {code}"),
            (Ownership::Reopened, None) => {
                format!("yours, or to claim it anew {open} the setup_code of llmbasedos.toml")
            }
            (Ownership::Given, _) => {
                "token given, not yet shown: if that was not you, or it did not arrive, restart the machine".to_owned()
            }
            (Ownership::Claimed, _) if !claim.is_known() => "cannot be read, see above: restart the machine".to_owned(),
            (Ownership::Claimed, _) => "claimed: come in with your token".to_owned(),
            (Ownership::Settled, _) => "with a token of llmbasedos.toml".to_owned(),
        };
        let certificate = self.certificate.as_ref().and_then(|known| known.sha256.get(..SHOWN_OF_DIGEST));
        let certificate = certificate.map(|begin| ("", format!("certificate sha256 {begin} …")));
        [("claim", words)].into_iter().chain(certificate).collect()
    }

    pub(super) fn ownership(&self) -> Option<Ownership> {
        self.claim.as_ref().map(Claim::ownership)
    }

    /// Lets the light tell how the machine is.
    pub(super) fn show_light(&mut self) {
        let Some(appliance) = &mut self.appliance else { return };
        let failed = |service: &Service| service.state() == ServiceState::Failed;
        let signs = Signs {
            is_up: self.stage == Stage::Up,
            has_failed: !appliance.has_data() || self.services.values().any(failed),
            is_claimed: !self.claim.as_ref().is_some_and(|claim| claim.ownership() == Ownership::Open),
            has_address: self.has_address,
        };
        appliance.led.show(Condition::of(signs));
    }
}
