//! The server that is loaded: where it is, what it speaks, and how the report calls it.

use anyhow::{Context, Result, bail};
use std::net::{SocketAddr, ToSocketAddrs};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Protocol {
    Http,
    Grpc,
}

#[derive(Clone, Debug)]
pub struct Target {
    pub name: String,
    pub protocol: Protocol,
    /// `127.0.0.1:8000`, for the Host header.
    pub authority: String,
    pub address: SocketAddr,
}

impl Target {
    /// Reads `[NAME=]http://HOST:PORT` or `[NAME=]grpc://HOST:PORT`.
    pub fn parse(text: &str) -> Result<Self> {
        let (name, url) = match text.split_once('=') {
            Some((name, url)) if !name.contains("://") => (Some(name), url),
            _ => (None, text),
        };
        let form = || format!("--url {text}: write http://HOST:PORT or grpc://HOST:PORT");
        let (scheme, place) = url.split_once("://").with_context(form)?;
        let (protocol, port) = match scheme {
            "http" => (Protocol::Http, 8000),
            "grpc" => (Protocol::Grpc, 8001),
            _ => bail!(form()),
        };
        let place = place.trim_end_matches('/');
        if place.is_empty() || place.contains('/') {
            bail!(form());
        }
        // A colon inside brackets belongs to an address, not to a port.
        let has_port = place.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
        let authority = if has_port { place.to_owned() } else { format!("{place}:{port}") };
        let address = authority
            .to_socket_addrs()
            .with_context(|| format!("--url {text}"))?
            .next()
            .with_context(|| format!("--url {text}: the host has no address"))?;
        let name = name.map_or_else(|| url.trim_end_matches('/').to_owned(), str::to_owned);
        Ok(Target { name, protocol, authority, address })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_protocols_and_ports_are_read() {
        let target = Target::parse("ours=grpc://127.0.0.1:9001").unwrap();
        assert_eq!((target.name.as_str(), target.protocol), ("ours", Protocol::Grpc));
        let target = Target::parse("http://127.0.0.1/").unwrap();
        assert_eq!((target.name.as_str(), target.address.port()), ("http://127.0.0.1", 8000));
        let target = Target::parse("http://[::1]").unwrap();
        assert_eq!(target.authority, "[::1]:8000");
        for wrong in ["127.0.0.1:8000", "https://127.0.0.1", "http://127.0.0.1/v2", "http:///"] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
    }
}
