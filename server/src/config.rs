//! What `endcap serve` is told.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use crate::cosign::Witnesses;

/// How the server is run.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// The data folder.
    pub data: PathBuf,
    /// Where it listens, in plain HTTP.
    pub listen: SocketAddr,
    /// How people and phones reach it, such as `https://endcap.example`; without a slash at the end.
    pub public_url: Option<String>,
    /// Who terminates TLS in front of it and is believed about where a request came from.
    pub trusted_proxies: Vec<Network>,
    /// Answers plain HTTP from other machines although passwords and tokens can be read on the way.
    pub insecure_lan: bool,
    /// Serves `/metrics` to everyone rather than to this machine alone.
    pub metrics_open: bool,
    /// Who is asked to sign the checkpoints of the logs.
    pub witnesses: Witnesses,
}

/// Why the server does not start as it is told to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Passwords and tokens would cross a network in the clear.
    #[error(
        "{0} can be reached from other machines, and the server speaks plain HTTP: name the proxy that \
         terminates TLS with --trust-proxy ADDRESS, or listen on 127.0.0.1, or accept that passwords and \
         tokens can be read on the network with --insecure-lan"
    )]
    Exposed(SocketAddr),
    /// The public address cannot be linked to.
    #[error(
        "--public-url needs the form https://endcap.example, without a path or query; not `{0}`"
    )]
    PublicUrl(String),
}

impl ServeConfig {
    /// For this machine alone.
    pub fn local(data: PathBuf) -> Self {
        Self {
            data,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            public_url: None,
            trusted_proxies: Vec::new(),
            insecure_lan: false,
            metrics_open: false,
            witnesses: Witnesses::default(),
        }
    }

    /// Whether it is safe to start like this.
    pub fn check(&self) -> Result<(), ConfigError> {
        if let Some(url) = &self.public_url {
            let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
            if !host.is_some_and(is_authority) {
                return Err(ConfigError::PublicUrl(url.clone()));
            }
        }
        let guarded = self.listen.ip().to_canonical().is_loopback()
            || !self.trusted_proxies.is_empty()
            || self.insecure_lan;
        if guarded { Ok(()) } else { Err(ConfigError::Exposed(self.listen)) }
    }

    /// Whether this peer is a proxy whose word counts.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|network| network.contains(peer))
    }
}

/// Whether `text` can stand between `https://` and the path: a host, maybe with a port.
pub(crate) fn is_authority(text: &str) -> bool {
    let allowed =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
    !text.is_empty() && text.len() <= 255 && text.bytes().all(allowed)
}

/// An address, or all addresses that begin like it: `10.0.0.7`, `10.0.0.0/8`, `fd00::/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

/// Text that is no address and no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an IP address or a network such as 10.0.0.0/8")]
pub struct InvalidNetwork(String);

impl Network {
    /// Whether `ip` belongs to it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let (own, own_bits) = bits(self.address);
        let (ip, ip_bits) = bits(ip.to_canonical());
        own_bits == ip_bits && (own ^ ip).checked_shr(own_bits - self.prefix).unwrap_or(0) == 0
    }
}

fn bits(ip: IpAddr) -> (u128, u32) {
    match ip {
        IpAddr::V4(ip) => (u32::from(ip).into(), 32),
        IpAddr::V6(ip) => (u128::from(ip), 128),
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let bad = || InvalidNetwork(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address = address.parse::<IpAddr>().map_err(|_| bad())?.to_canonical();
        let (_, longest) = bits(address);
        let prefix = prefix.map_or(Ok(longest), |p| p.parse().map_err(|_| bad()))?;
        if prefix > longest { Err(bad()) } else { Ok(Self { address, prefix }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let holds = |network: &str, ip: &str| {
            network.parse::<Network>().unwrap().contains(ip.parse().unwrap())
        };
        assert!(holds("10.0.0.7", "10.0.0.7"));
        assert!(holds("10.0.0.7", "::ffff:10.0.0.7"));
        assert!(!holds("10.0.0.7", "10.0.0.8"));
        assert!(holds("10.0.0.0/8", "10.255.0.1"));
        assert!(!holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("0.0.0.0/0", "1.2.3.4"));
        assert!(!holds("0.0.0.0/0", "::1"));
        assert!(holds("::/0", "::1"));
        assert!(holds("fd00::/8", "fd12::1"));
        for bad in ["", "10.0.0.0/33", "10.0.0.0/x", "::/129", "proxy.example"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn plain_http_stays_at_home() {
        let mut config = ServeConfig::local(PathBuf::new());
        assert_eq!(config.check(), Ok(()));
        config.listen = "[::1]:1".parse().unwrap();
        assert_eq!(config.check(), Ok(()));
        config.listen = "0.0.0.0:1".parse().unwrap();
        assert_eq!(config.check(), Err(ConfigError::Exposed(config.listen)));
        config.insecure_lan = true;
        assert_eq!(config.check(), Ok(()));
        config.insecure_lan = false;
        config.trusted_proxies.push("10.0.0.1".parse().unwrap());
        assert_eq!(config.check(), Ok(()));
        for (url, fine) in [
            ("https://endcap.example", true),
            ("http://[::1]:8080", true),
            ("https://endcap.example/", false),
            ("ftp://endcap.example", false),
            ("https://", false),
            ("https://a\"b", false),
        ] {
            config.public_url = Some(url.into());
            assert_eq!(config.check().is_ok(), fine, "{url}");
        }
    }
}
