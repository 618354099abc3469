//! Where a recursor is: at an address, or under a name, whose addresses are looked up before it is first asked, and again after
//! it failed: so one that has moved is found.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::dns::bounds::NAME_ADDRESSES_MAX;
use crate::dns::is_itself;

/// A server to ask, as it is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// By its address.
    Address(SocketAddr),
    /// As `HOST:PORT`.
    Name(String),
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self::Address(address)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// The addresses of a name.
pub(super) type Found = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;
/// How names are looked up.
#[derive(Clone, Copy)]
pub(super) struct Lookup {
    pub(super) by: fn(String) -> Found,
    /// Between two lookups of one name.
    pub(super) rest: Duration,
}

/// As the system does it.
pub(super) fn by_the_system(name: String) -> Found {
    Box::pin(async move { tokio::net::lookup_host(name).await.map(Iterator::collect) })
}

/// A target, with what is known of its addresses.
pub(super) struct Place {
    target: Target,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    addresses: Vec<SocketAddr>,
    /// Which of them is asked, counted on.
    turn: usize,
    /// It has failed since they were looked up.
    is_doubted: bool,
    looked_up: Option<Instant>,
}

impl Place {
    pub(super) fn new(target: Target) -> Self {
        Self { target, known: Mutex::default() }
    }

    /// It did not answer: its next address is asked then, of those that it has by then.
    pub(super) fn failed(&self) {
        self.with(|known| {
            known.is_doubted = true;
            known.turn = known.turn.wrapping_add(1);
        });
    }

    /// The address to ask; never that of the server at `own`.
    pub(super) async fn address(&self, lookup: Lookup, own: Option<SocketAddr>) -> io::Result<SocketAddr> {
        let name = match &self.target {
            Target::Address(address) => return Ok(*address),
            Target::Name(name) => name,
        };
        let begins = self.with(|known| {
            let is_due = known.looked_up.is_none_or(|at| at.elapsed() >= lookup.rest);
            let begins = is_due && (known.addresses.is_empty() || known.is_doubted);
            if begins {
                known.looked_up = Some(Instant::now());
            }
            begins
        });
        if begins {
            let found = (lookup.by)(name.clone()).await;
            let mut found = match found {
                Ok(found) => found,
                // What was known before may still be right.
                Err(error) => return self.current().ok_or(error),
            };
            found.retain(|address| own.is_none_or(|own| !is_itself(own, *address)));
            found.truncate(NAME_ADDRESSES_MAX);
            self.with(|known| {
                known.is_doubted = false;
                if known.addresses != found && !found.is_empty() {
                    tracing::info!(name, addresses = ?found, "the addresses of a recursor");
                    known.addresses = found;
                }
            });
        }
        self.current().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it has no address"))
    }

    fn current(&self) -> Option<SocketAddr> {
        self.with(|known| known.addresses.get(known.turn % known.addresses.len().max(1)).copied())
    }

    fn with<T>(&self, work: impl FnOnce(&mut Known) -> T) -> T {
        work(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
