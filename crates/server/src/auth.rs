//! Who may change the server: load models, register memory, switch tracing.

use crate::listen::Peer;
use crate::{Cause, Failure};

/// Decides on administrative calls.
pub(crate) struct AdminGate {
    /// The token's hash: comparing hashes takes the same time wherever the texts differ.
    token: Option<blake3::Hash>,
}

impl AdminGate {
    pub fn new(token: Option<&str>) -> Self {
        AdminGate { token: token.map(|token| blake3::hash(token.as_bytes())) }
    }

    /// `authorization` is the header, or gRPC metadata, of that name. Without a token configured, callers on this
    /// machine are allowed.
    pub fn check(&self, authorization: Option<&[u8]>, peer: Option<Peer>) -> Result<(), Failure> {
        let Some(token) = self.token else {
            return match peer {
                Some(Peer(address)) if address.ip().to_canonical().is_loopback() => Ok(()),
                _ => Err(Failure::new(
                    Cause::Forbidden,
                    "only clients on the server's machine may do this, unless the server has an admin token",
                )),
            };
        };
        let Some(given) = authorization else {
            return Err(Failure::new(
                Cause::NoToken,
                "this needs the admin token: `Authorization: Bearer …`",
            ));
        };
        match bearer(given) {
            Some(given) if blake3::hash(given) == token => Ok(()),
            _ => Err(Failure::new(Cause::Forbidden, "the admin token is wrong")),
        }
    }
}

/// The token of a `Bearer …` header.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    const SCHEME: &[u8] = b"bearer ";
    let (scheme, token) = header.split_at_checked(SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_the_token_and_nothing_else() {
        let gate = AdminGate::new(Some("secret"));
        let near = Some(Peer(([127, 0, 0, 1], 1).into()));
        let cause = |header: Option<&str>| {
            gate.check(header.map(str::as_bytes), near).map_err(|failure| failure.cause())
        };
        assert_eq!(cause(Some("Bearer secret")), Ok(()));
        assert_eq!(cause(Some("bearer  secret")), Ok(()));
        assert_eq!(cause(None), Err(Cause::NoToken));
        for wrong in ["Bearer secre", "Bearer secret2", "Bearer", "Basic secret", "secret", ""] {
            assert_eq!(cause(Some(wrong)), Err(Cause::Forbidden), "{wrong}");
        }
    }

    #[test]
    fn without_a_token_only_this_machine_may() {
        let gate = AdminGate::new(None);
        let from = |ip: &str| {
            let address = std::net::SocketAddr::new(ip.parse().expect("an address"), 1);
            gate.check(None, Some(Peer(address))).is_ok()
        };
        assert!(from("127.0.0.1") && from("::1") && from("::ffff:127.0.0.1"));
        assert!(!from("10.0.0.1") && !from("::ffff:10.0.0.1"));
        assert!(gate.check(None, None).is_err());
    }
}
