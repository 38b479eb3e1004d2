//! Telling the kernel of links, addresses and routes, and hearing of its links: rtnetlink(7).

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::pin::pin;

use anyhow::Context;
use futures_util::stream::ReadyChunks;
use futures_util::{StreamExt, TryStreamExt};
use rtnetlink::packet_core::NetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, CacheInfo};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::sys::SocketAddr;
use rtnetlink::{Handle, LinkUnspec, MulticastGroup, RouteMessageBuilder};

use crate::address::Addressing;
use crate::link::Link;

/// The metric of a link's default route is this and the link's number: each link has one of its own, and the route of
/// the first that works counts.
const METRIC: u32 = 100;
/// What is added to the metric of a radio: a cable counts before it.
const RADIO: u32 = 1000;
/// How many messages of the kernel are taken for one piece of news.
const AT_ONCE: usize = 64;

/// The kernel's side of the network.
#[derive(Clone)]
pub(crate) struct Kernel(Handle);

/// The kernel's news of links.
pub(crate) struct Changes(ReadyChunks<Messages>);

type Messages = futures_util::stream::BoxStream<'static, (NetlinkMessage<RouteNetlinkMessage>, SocketAddr)>;

impl Changes {
    /// Waits until something about a link has changed. Where the kernel no longer tells, waits for ever.
    pub(crate) async fn next(&mut self) {
        if self.0.next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }
}

impl Kernel {
    /// Connects to it; needs the runtime, in which the connection lives.
    pub(crate) fn connect() -> anyhow::Result<(Self, Changes)> {
        let opened = rtnetlink::new_multicast_connection(&[MulticastGroup::Link]);
        let (connection, handle, messages) = opened.context("cannot talk to the kernel")?;
        tokio::spawn(connection);
        Ok((Self(handle), Changes(messages.boxed().ready_chunks(AT_ONCE))))
    }

    /// The links of Ethernet's kind, in the order of their numbers.
    pub(crate) async fn links(&self) -> anyhow::Result<Vec<Link>> {
        let mut messages = pin!(self.0.link().get().execute());
        let mut links = Vec::new();
        while let Some(message) = messages.try_next().await.context("cannot ask the kernel for its links")? {
            links.extend(Link::of_message(&message));
        }
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// Tells a link to work.
    pub(crate) async fn bring_up(&self, link: &Link) -> anyhow::Result<()> {
        // So that the route of another link counts while this one has no cable; without it only that is lost.
        let path = format!("/proc/sys/net/ipv4/conf/{}/ignore_routes_with_linkdown", link.name);
        if let Err(error) = fs::write(&path, "1") {
            tracing::debug!("{path}: {error}");
        }
        let message = LinkUnspec::new_with_index(link.index).up().build();
        self.0.link().set(message).execute().await.with_context(|| format!("cannot bring up {}", link.name))
    }

    /// Gives a link an address in place of what it had. It vanishes by itself when its time ends.
    pub(crate) async fn apply(&self, link: &Link, given: &Addressing) -> anyhow::Result<()> {
        self.remove_others(link, given)
            .await
            .with_context(|| format!("cannot take old addresses from {}", link.name))?;
        let (address, prefix) = (IpAddr::V4(given.own.address()), given.own.prefix());
        let mut request = self.0.address().add(link.index, address, prefix).replace();
        let mut lifetime = CacheInfo::default();
        lifetime.ifa_valid = given.seconds;
        lifetime.ifa_preferred = given.seconds;
        request.message_mut().attributes.push(AddressAttribute::CacheInfo(lifetime));
        request.execute().await.with_context(|| format!("cannot give {} the address {}", link.name, given.own))?;
        self.set_router(link, given).await
    }

    /// Takes away every other address first: the kernel drops an address along with one that came before it in the same
    /// network.
    async fn remove_others(&self, link: &Link, given: &Addressing) -> Result<(), rtnetlink::Error> {
        let own = AddressAttribute::Local(given.own.address().into());
        let mut addresses = pin!(self.0.address().get().set_link_index_filter(link.index).execute());
        while let Some(message) = addresses.try_next().await? {
            let is_kept = message.header.prefix_len == given.own.prefix() && message.attributes.contains(&own);
            if message.header.family == AddressFamily::Inet && !is_kept {
                self.0.address().del(message).execute().await?;
            }
        }
        Ok(())
    }

    /// Takes the address away from every other link: it moves with a cable that is put elsewhere, and on two it would lead
    /// to both.
    pub(crate) async fn take_from_others(&self, link: &Link, given: &Addressing) -> anyhow::Result<()> {
        let own = AddressAttribute::Local(given.own.address().into());
        let cannot = || format!("cannot take {} from other links", given.own);
        let mut addresses = pin!(self.0.address().get().execute());
        while let Some(message) = addresses.try_next().await.with_context(cannot)? {
            if message.header.index != link.index && message.attributes.contains(&own) {
                self.0.address().del(message).execute().await.with_context(cannot)?;
            }
        }
        Ok(())
    }

    async fn set_router(&self, link: &Link, given: &Addressing) -> anyhow::Result<()> {
        let radio = if is_radio(link) { RADIO } else { 0 };
        let default = || {
            let route = RouteMessageBuilder::<Ipv4Addr>::new().output_interface(link.index);
            route.priority(METRIC.saturating_add(radio).saturating_add(link.index))
        };
        let Some(router) = given.router else {
            // There is none to be removed, most of the time.
            let _ = self.0.route().del(default().build()).execute().await;
            return Ok(());
        };
        let route = default().gateway(router);
        // Some networks have their router outside; it is on the cable all the same.
        let route = if given.own.is_beside(router) { route } else { route.onlink() };
        let set = self.0.route().add(route.build()).replace().execute().await;
        set.with_context(|| format!("cannot set the route to {router}"))
    }
}

/// Whether a link has no cable: Wi-Fi (Linux, `net/wireless/sysfs.c`).
pub(crate) fn is_radio(link: &Link) -> bool {
    Path::new("/sys/class/net").join(&link.name).join("phy80211").exists()
}
