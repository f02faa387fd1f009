//! Name resolution, and the check of what a name resolved to.
//!
//! Invariant: the addresses that pass here are the ones that are connected to, so a name
//! that changes its mind between check and connection gains nothing.

use crate::manifest::allowed_hosts::{Reach, is_public};
use hyper_util::client::legacy::connect::dns::Name;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The name has addresses, and none of them may be called.
#[derive(Debug, thiserror::Error)]
#[error("the name resolves to private addresses only")]
pub(in crate::capability) struct Prohibited;

/// Resolves by the system, keeping what `reach` allows.
#[derive(Debug, Clone)]
pub(in crate::capability) struct Resolver {
    pub(in crate::capability) reach: Reach,
}

impl tower_service::Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let reach = self.reach;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0))
                .await
                .map_err(|_| io::Error::from(io::ErrorKind::NotFound))?
                .collect();
            let kept = keep(found, reach)?;
            Ok(kept.into_iter())
        })
    }
}

/// Drops what `reach` does not allow.
pub(in crate::capability) fn keep(
    found: Vec<SocketAddr>,
    reach: Reach,
) -> io::Result<Vec<SocketAddr>> {
    if found.is_empty() {
        return Err(io::ErrorKind::NotFound.into());
    }
    let kept: Vec<SocketAddr> = found
        .into_iter()
        .filter(|address| reach == Reach::Literal || is_public(address.ip()))
        .collect();
    if kept.is_empty() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, Prohibited));
    }
    Ok(kept)
}
