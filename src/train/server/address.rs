//! Where a run's server listens.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Where it listens unless told otherwise.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);

/// Where the server should listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// [`DEFAULT_ADDRESS`], or a free port when that one is taken.
    Default,
    /// This address; it is an error if it is taken.
    Named(SocketAddr),
    /// No server at all.
    Off,
}

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            _ => text.parse().map(Self::Named).map_err(|_| {
                format!("expected an address and a port, such as {DEFAULT_ADDRESS} or [::1]:9464, or off")
            }),
        }
    }
}
