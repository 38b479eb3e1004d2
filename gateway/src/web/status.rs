//! The first page. A stranger is told what this machine is, whether it is well and whether it is anybody's; the owner how
//! everything on it is doing.

use std::fmt::Write;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;
use spec::control::{MachineStatus, Ownership, ServiceInfo, ServiceState};

use super::html::{Text, page};
use super::overview::Overview;
use super::visitor::{Visitor, answer_json};

/// `GET /`
pub(super) async fn show(visitor: Visitor) -> Response {
    // The browser keeps the cookie to itself where another site led it here, also our own page without TLS.
    if visitor.is_led_here && !visitor.is_owner && visitor.door.is_secure {
        return page(StatusCode::OK, &visitor.door.host_name, "<meta http-equiv=\"refresh\" content=\"0;url=/\">\n");
    }
    let control = &visitor.door.gateway.control;
    let overview = match visitor.is_owner {
        true => Arc::new(Overview::ask(control).await),
        false => visitor.door.told.overview(control).await,
    };
    let Overview { machine, services } = &*overview;
    let failed = services.iter().filter(|service| service.state == ServiceState::Failed).count();
    let is_ready = machine.as_ref().is_some_and(|machine| machine.ready);
    if visitor.is_script {
        let ownership = machine.as_ref().and_then(|machine| machine.ownership);
        let version = env!("CARGO_PKG_VERSION");
        let name = &*visitor.door.host_name;
        let told =
            json!({ "name": name, "version": version, "ready": is_ready, "failed": failed, "ownership": ownership });
        return answer_json(StatusCode::OK, &told);
    }
    let mut body = head(&visitor, is_ready, failed);
    body.push_str(&door(&visitor, machine.as_ref()));
    if let Some(machine) = machine.as_ref().filter(|_| visitor.is_owner) {
        body.push_str(&whole(machine, services));
    }
    if visitor.is_unseen() {
        body.push_str("<p><small>Programs connect to /ws.</small></p>\n");
    }
    page(StatusCode::OK, &visitor.door.host_name, &body)
}

fn head(visitor: &Visitor, is_ready: bool, failed: usize) -> String {
    let state = match (is_ready, failed) {
        (false, _) => "<span>starting</span>".to_owned(),
        (true, 0) => "<span class=\"good\">ready</span>".to_owned(),
        (true, 1) => "<span class=\"bad\">one service has failed</span>".to_owned(),
        (true, failed) => format!("<span class=\"bad\">{failed} services have failed</span>"),
    };
    let version = env!("CARGO_PKG_VERSION");
    format!("<h1>{}</h1>\n<p class=\"sub\">llmbasedos {version} · {state}</p>\n", Text(&visitor.door.host_name))
}

/// What a visitor can do here.
fn door(visitor: &Visitor, machine: Option<&MachineStatus>) -> String {
    let ownership = machine.and_then(|machine| machine.ownership);
    let (ends, access_point) = (visitor.ends, machine.and_then(|machine| machine.access_point));
    let by_access_point = access_point.is_some_and(|network| network.is_way_of(ends.peer.ip(), ends.own.ip()));
    let wifi = if by_access_point && visitor.is_unseen() { WIFI } else { "" };
    let rest = match ownership {
        None => String::new(),
        Some(Ownership::Reopened) if visitor.is_owner => format!("{REOPENED}{OWNER}"),
        _ if visitor.is_owner => OWNER.to_owned(),
        Some(ownership) if !visitor.is_unseen() => unsafe_door(visitor, ownership, by_access_point),
        Some(Ownership::Open) => CLAIM.to_owned(),
        Some(Ownership::Reopened) => format!("{ENTER}{CLAIM_ANEW}"),
        Some(Ownership::Given) => format!("{GIVEN}{ENTER}"),
        Some(Ownership::Claimed | Ownership::Settled) => ENTER.to_owned(),
    };
    format!("{rest}{wifi}")
}

const CLAIM: &str = "<form class=\"box\" method=\"post\" action=\"/claim\"><h2>Claim this machine</h2>\
    <p>It is nobody's yet. Its set-up code stands on its screen, or is the one that you wrote to its card.</p>\
    <label for=\"code\">Set-up code</label><input class=\"code\" id=\"code\" name=\"code\" maxlength=\"40\" required autofocus \
    autocomplete=\"off\" autocapitalize=\"characters\" spellcheck=\"false\"><button>Claim</button></form>\n";
const ENTER: &str = "<form class=\"box\" method=\"post\" action=\"/enter\"><h2>This machine is somebody's</h2>\
    <label for=\"token\">Token of the owner</label><input id=\"token\" name=\"token\" type=\"password\" maxlength=\"128\" \
    required autofocus autocomplete=\"current-password\"><button>Come in</button>\
    <p><small>Lost it? Write another <code>setup_code</code> into <code>[gateway]</code> of <code>llmbasedos.toml</code> on \
    the card, and restart.</small></p></form>\n";
const CLAIM_ANEW: &str = "<form class=\"box\" method=\"post\" action=\"/claim\"><h2>Or claim it anew</h2>\
    <p>There is a set-up code as well. With it the machine is yours, and the token of before is void.</p>\
    <label for=\"code\">Set-up code</label><input class=\"code\" id=\"code\" name=\"code\" maxlength=\"40\" required \
    autocomplete=\"off\" autocapitalize=\"characters\" spellcheck=\"false\"><button>Claim</button></form>\n";
const GIVEN: &str = "<div class=\"box\"><h2>Its token was given, and not yet shown</h2><p>If that was not you, or it did not \
    arrive, restart the machine: the token is void then, and there is a new set-up code.</p></div>\n";
const REOPENED: &str = "<div class=\"box\"><p>There is a set-up code: whoever enters it is the owner of this machine from then \
    on, and your token is void.</p><form method=\"post\" action=\"/setup-code/withdraw\"><button>Withdraw it</button></form>\
    </div>\n";
const OWNER: &str = "<form method=\"post\" action=\"/leave\"><a href=\"/wifi\">Wi-Fi</a> &nbsp; \
    <button class=\"plain\" formaction=\"/setup-code\">New set-up code</button> \
    <button class=\"plain\">Leave</button></form>\n";
const WIFI: &str = "<p><a class=\"button\" href=\"/wifi\">Join a Wi-Fi network</a></p>\n";

/// Without TLS there is only the way to where it is. The window in which a phone shows the page of a network that it has
/// just joined may know no way past a warning; its browser does.
fn unsafe_door(visitor: &Visitor, ownership: Ownership, by_access_point: bool) -> String {
    let (title, what) = match ownership {
        Ownership::Open => ("Claim this machine", "It is nobody's yet."),
        Ownership::Given => ("Come in", "Its token was given, and not yet shown."),
        Ownership::Reopened => ("Come in", "This machine is somebody's, who can be followed with a set-up code."),
        Ownership::Claimed | Ownership::Settled => ("Come in", "This machine is somebody's."),
    };
    if visitor.door.secure.is_none() {
        let advice = "Its door for TLS is not open (<code>listen.https</code>), and secrets go through no other: use a token \
                      of <code>llmbasedos.toml</code>.";
        return format!("<div class=\"box\"><h2>{title}</h2><p>{what} {advice}</p></div>\n");
    }
    let address = visitor.secure_address();
    let browser = match by_access_point {
        true => format!(" Where this window does not let you, open <b>{}</b> in your browser.", Text(&address)),
        false => String::new(),
    };
    format!(
        "<div class=\"box\"><h2>{title}</h2><p>{what} The next page is encrypted. Your browser will warn you, because the \
         machine has made its certificate itself: go on all the same.{browser} Who wants to be sure compares the \
         certificate's SHA-256 with the one on the machine's screen.</p><a class=\"button\" href=\"{}\">Go on</a></div>\n",
        Text(&address)
    )
}

/// Everything, for the owner.
fn whole(machine: &MachineStatus, services: &[ServiceInfo]) -> String {
    let seconds = |seconds: f64| format!("{seconds:.1} s");
    let slot = machine.slot.map(|slot| format!("{}, verified", slot.to_ascii_uppercase()));
    let rows = [
        ("address", machine.network.clone()),
        ("data", machine.data.clone()),
        ("slot", slot),
        ("up", Some(duration(machine.uptime_seconds))),
        ("ready in", machine.ready_seconds.map(seconds)),
        ("watchdog", machine.watchdog_seconds.map(|seconds| format!("{seconds} s"))),
        ("certificate", machine.certificate_sha256.as_ref().map(|digest| format!("SHA-256 {digest}"))),
    ];
    let mut body = "<h2>Machine</h2>\n<table>".to_owned();
    for (name, value) in rows.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        row(&mut body, name, "", &value);
    }
    body.push_str("</table>\n");
    if !machine.problems.is_empty() {
        body.push_str("<h2>Settings that are not sound</h2>\n");
        machine.problems.iter().for_each(|problem| {
            let _ = writeln!(body, "<p class=\"bad\">{}</p>", Text(problem));
        });
    }
    let up = |service: &&ServiceInfo| matches!(service.state, ServiceState::Running | ServiceState::Listening);
    let _ = writeln!(
        body,
        "<h2>Services</h2>\n<p>{} of {} up</p>\n<table>",
        services.iter().filter(up).count(),
        services.len()
    );
    for service in services {
        let (class, state) = state(service.state);
        let reason = service.reason.as_ref().map(|reason| format!(" · {reason}")).unwrap_or_default();
        row(&mut body, service.name.as_str(), class, &format!("{state}{reason}"));
    }
    body.push_str("</table>\n");
    body
}

fn row(body: &mut String, name: &str, class: &str, value: &str) {
    let _ = writeln!(body, "<tr><th>{}</th><td class=\"{class}\">{}</td></tr>", Text(name), Text(value));
}

/// How it looks and what it is called.
fn state(state: ServiceState) -> (&'static str, &'static str) {
    match state {
        ServiceState::Running => ("good", "running"),
        ServiceState::Listening => ("good", "starts at the first call"),
        ServiceState::Stopped => ("", "stopped"),
        ServiceState::Waiting => ("", "waits"),
        ServiceState::Starting => ("", "starts"),
        ServiceState::Stopping => ("", "stops"),
        ServiceState::Backoff => ("bad", "starts again in a moment"),
        ServiceState::Failed => ("bad", "failed"),
    }
}

/// `3 days`, `4 h 5 min`, `12 s`.
fn duration(seconds: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a machine runs no 500 billion years")]
    let seconds = seconds as u64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (1, hours, _) => format!("1 day {hours} h"),
        (days, ..) => format!("{days} days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let shown = [0.4, 59.9, 61.0, 3_700.0, 90_000.0, 400_000.0].map(duration);
        assert_eq!(shown, ["0 s", "59 s", "1 min", "1 h 1 min", "1 day 1 h", "4 days"]);
    }
}
