//! The server that is loaded: where it is, what it speaks, and how the report calls it.

use anyhow::{Context, Result, bail};
use hyper::Uri;
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
        let uri: Uri = url.parse().with_context(|| format!("--url {text}"))?;
        let protocol = match uri.scheme_str() {
            Some("http") => Protocol::Http,
            Some("grpc") => Protocol::Grpc,
            _ => bail!("--url {text}: write http://HOST:PORT or grpc://HOST:PORT"),
        };
        if !matches!(uri.path(), "" | "/") {
            bail!("--url {text}: a path is not part of it");
        }
        let host = uri.host().with_context(|| format!("--url {text}: there is no host"))?;
        let port = uri.port_u16().unwrap_or(match protocol {
            Protocol::Http => 8000,
            Protocol::Grpc => 8001,
        });
        let authority = format!("{host}:{port}");
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
        for wrong in ["127.0.0.1:8000", "https://127.0.0.1", "http://127.0.0.1/v2", "http:///"] {
            assert!(Target::parse(wrong).is_err(), "{wrong}");
        }
    }
}
