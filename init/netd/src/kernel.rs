//! Telling the kernel of links, addresses and routes: rtnetlink(7).

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Context;
use rtnetlink::packet_route::address::{AddressAttribute, CacheInfo};
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder};

use crate::lease::Settings;
use crate::link::Link;

/// The kernel's side of the network.
#[derive(Clone)]
pub(crate) struct Kernel(Handle);

impl Kernel {
    /// Connects to it; needs the runtime, in which the connection lives.
    pub(crate) fn connect() -> anyhow::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection().context("cannot talk to the kernel")?;
        tokio::spawn(connection);
        Ok(Self(handle))
    }

    pub(crate) async fn bring_up(&self, link: &Link) -> anyhow::Result<()> {
        let message = LinkUnspec::new_with_index(link.index).up().build();
        self.0.link().set(message).execute().await.with_context(|| format!("cannot bring up {}", link.name))
    }

    /// Gives a link the settings. The address vanishes by itself when the lease ends without having been renewed.
    pub(crate) async fn apply(&self, link: &Link, settings: &Settings) -> anyhow::Result<()> {
        let address = IpAddr::V4(settings.address);
        let mut request = self.0.address().add(link.index, address, settings.prefix).replace();
        let mut lifetime = CacheInfo::default();
        lifetime.ifa_valid = settings.seconds;
        lifetime.ifa_preferred = settings.seconds;
        request.message_mut().attributes.push(AddressAttribute::CacheInfo(lifetime));
        request.execute().await.with_context(|| format!("cannot set the address {address}"))?;
        let Some(router) = settings.router else { return Ok(()) };
        let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(router).output_interface(link.index).build();
        self.0.route().add(route).replace().execute().await.with_context(|| format!("cannot set the route to {router}"))
    }
}
