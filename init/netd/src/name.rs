//! Answering to the machine's name on its links: multicast DNS (RFC 6762), and that there is a web page (RFC 6763).

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use mdns_sd::{DaemonEvent, IfKind, RRType, ServiceDaemon, ServiceInfo};
use tokio::sync::oneshot;

use crate::network::{Board, Network};

/// The services under which browsers and file managers look for machines with a web page, as it is and through TLS.
const SERVICES: [&str; 2] = ["_http._tcp.local.", "_https._tcp.local."];
/// After answering has failed, before it is tried again.
const PAUSE: Duration = Duration::from_secs(60);

/// The ports of the machine's web pages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pages {
    pub(crate) plain: u16,
    pub(crate) secure: Option<u16>,
}

/// Answers to `<host_name>.local` on every link with an address, until `leaving`; then says farewell. Another machine
/// may have the name: then this one takes the next that is free (`attic-2`), and says so.
pub(crate) async fn answer(host_name: String, pages: Pages, board: Arc<Board>, leaving: oneshot::Receiver<()>) {
    let mut responder = None;
    tokio::select! {
        () = keep_answering(&mut responder, &host_name, pages, &board) => {}
        _ = leaving => {}
    }
    if let Some(responder) = responder {
        responder.leave().await;
    }
}

async fn keep_answering(responder: &mut Option<Responder>, host_name: &str, pages: Pages, board: &Board) {
    loop {
        let Err(error) = serve(responder, host_name, pages, board).await;
        tracing::warn!("nobody finds this machine as {host_name}.local, which is tried again: {error}");
        *responder = None;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn serve(
    responder: &mut Option<Responder>,
    host_name: &str,
    pages: Pages,
    board: &Board,
) -> mdns_sd::Result<Infallible> {
    let _ = board.subscribe().wait_for(Network::has_address).await;
    responder.insert(Responder::start(host_name, pages)?).serve(board).await
}

/// The thread that answers, and what it was told.
struct Responder {
    daemon: ServiceDaemon,
    events: mdns_sd::Receiver<DaemonEvent>,
    services: Vec<ServiceInfo>,
    /// The links on which it answers.
    links: BTreeSet<String>,
    is_registered: bool,
}

impl Responder {
    fn start(host_name: &str, pages: Pages) -> mdns_sd::Result<Self> {
        let daemon = ServiceDaemon::new()?;
        let events = daemon.monitor()?;
        // Only where netd keeps an address: neither loopback nor what programs make.
        daemon.disable_interface(IfKind::All)?;
        let host = format!("{host_name}.local.");
        // The addresses are those of the link that is asked on, always as they are.
        let ports = [Some(pages.plain), pages.secure];
        let services = SERVICES.iter().zip(ports).filter_map(|(service, port)| Some((service, port?)));
        let services = services
            .map(|(service, port)| Ok(ServiceInfo::new(service, host_name, &host, "", port, None)?.enable_addr_auto()));
        let services = services.collect::<mdns_sd::Result<_>>()?;
        Ok(Self { daemon, events, services, links: BTreeSet::new(), is_registered: false })
    }

    /// Follows the links, and hears of conflicts.
    async fn serve(&mut self, board: &Board) -> mdns_sd::Result<Infallible> {
        let mut changes = board.subscribe();
        loop {
            let links: Vec<String> = changes.borrow_and_update().addressed().map(|(name, _)| name.to_owned()).collect();
            self.answer_on(links)?;
            tokio::select! {
                event = self.events.recv_async() => match event {
                    Ok(event) => heard(event, board),
                    Err(_) => return Err(mdns_sd::Error::DaemonShutdown),
                },
                Ok(()) = changes.changed() => {}
            }
        }
    }

    fn answer_on(&mut self, links: Vec<String>) -> mdns_sd::Result<()> {
        for link in links {
            if !self.links.contains(&link) {
                self.daemon.enable_interface(link.as_str())?;
                self.links.insert(link);
            }
        }
        if !self.is_registered && !self.links.is_empty() {
            for service in &self.services {
                self.daemon.register(service.clone())?;
            }
            self.is_registered = true;
        }
        Ok(())
    }

    /// Tells others to forget the name.
    async fn leave(self) {
        for service in &self.services {
            if let Ok(done) = self.daemon.unregister(service.get_fullname()) {
                let _ = done.recv_async().await;
            }
        }
    }
}

fn heard(event: DaemonEvent, board: &Board) {
    match event {
        DaemonEvent::NameChange(change) if matches!(change.rr_type, RRType::A | RRType::AAAA) => {
            let (own, other) = (change.original.trim_end_matches('.'), change.new_name.trim_end_matches('.'));
            if board.change(|network| network.rename(other)) {
                tracing::warn!("another machine on {} is {own}: this one answers to {other}", change.intf_name);
            }
        }
        DaemonEvent::Error(error) => tracing::warn!("answering to the machine's name: {error}"),
        other => tracing::debug!("{other:?}"),
    }
}
