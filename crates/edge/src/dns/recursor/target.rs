//! Where a recursor is: at an address, where others say it is, or under a name, whose addresses are looked up before it is first asked, and again after
//! it failed: so one that has moved is found.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::dns::bounds::{LOOKUP_WAIT_MAX, NAME_ADDRESSES_MAX};
use crate::dns::is_itself;

/// A server to ask, as it is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// By its address.
    Address(SocketAddr),
    /// As `HOST:PORT`.
    Name(String),
    /// Where it is said to be by then.
    Said(Said),
}

/// Where a server is, as others say it while queries come.
#[derive(Clone, Debug)]
pub struct Said(Arc<Mutex<Result<String, String>>>);

impl Said {
    /// Nowhere yet, for this reason.
    pub fn nowhere(why: &str) -> Self {
        Self(Arc::new(Mutex::new(Err(why.to_owned()))))
    }

    /// From now on it is at this `HOST:PORT`, or nowhere for this reason.
    pub fn set(&self, place: Result<String, String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }

    /// Where it is.
    ///
    /// # Errors
    /// Why that is not known.
    pub fn get(&self) -> Result<String, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl PartialEq for Said {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Said {}

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
            Self::Said(said) => f.write_str(said.get().as_deref().unwrap_or("a server")),
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
    known: Arc<watch::Sender<Known>>,
}

#[derive(Default)]
struct Known {
    /// Which name they are of.
    name: String,
    addresses: Vec<SocketAddr>,
    /// Which of them is asked, counted on.
    turn: usize,
    /// It has failed since they were looked up.
    is_doubted: bool,
    looked_up: Option<Instant>,
    /// They are being looked up.
    is_looked_up: bool,
    /// Why they were not found when they were last looked up.
    problem: Option<String>,
}

impl Known {
    fn present(&self) -> Option<SocketAddr> {
        self.addresses.get(self.turn % self.addresses.len().max(1)).copied()
    }

    /// Takes over what was found; of the same addresses the one in use stays in use.
    fn take(&mut self, name: &str, found: io::Result<Vec<SocketAddr>>) {
        self.is_looked_up = false;
        let found = match found {
            Ok(found) => found,
            // What was known before may still be right.
            Err(error) => return self.problem = Some(error.to_string()),
        };
        self.is_doubted = false;
        self.problem = None;
        if self.addresses != found && !found.is_empty() {
            tracing::info!(name, addresses = ?found, "the addresses of a recursor");
            let present = self.present();
            self.turn = found.iter().position(|address| Some(*address) == present).unwrap_or(0);
            self.addresses = found;
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.target.fmt(f)
    }
}

impl Place {
    pub(super) fn new(target: Target) -> Self {
        Self { target, known: Arc::default() }
    }

    /// What was asked did not answer: the next address is asked then, of those that it has by then. Of several that were asked
    /// at one time, only one moves on.
    pub(super) fn failed(&self, asked: Option<SocketAddr>) {
        self.known.send_if_modified(|known| {
            known.is_doubted = true;
            if asked.is_some() && asked == known.present() {
                known.turn = known.turn.wrapping_add(1);
            }
            false
        });
    }

    /// Whether it has an address to ask now, other than the one that was asked.
    pub(super) fn has_another(&self, asked: Option<SocketAddr>) -> bool {
        !matches!(self.target, Target::Address(_)) && {
            let present = self.known.borrow().present();
            asked.is_some() && present.is_some() && present != asked
        }
    }

    /// The address to ask; never that of the server at `own`.
    pub(super) async fn address(&self, lookup: Lookup, own: Option<SocketAddr>) -> io::Result<SocketAddr> {
        let name = match &self.target {
            Target::Address(address) => return Ok(*address),
            Target::Name(name) => name.clone(),
            Target::Said(said) => said.get().map_err(io::Error::other)?,
        };
        if let Ok(address) = name.parse::<SocketAddr>() {
            let is_own = own.is_some_and(|own| is_itself(own, address));
            return if is_own { Err(io::Error::other("it would ask itself")) } else { Ok(address) };
        }
        self.known.send_if_modified(|known| {
            if known.name != name {
                *known = Known { name: name.clone(), ..Known::default() };
            }
            false
        });
        let begins = self.known.send_if_modified(|known| {
            let is_due = known.looked_up.is_none_or(|at| at.elapsed() >= lookup.rest);
            let begins = is_due && !known.is_looked_up && (known.addresses.is_empty() || known.is_doubted);
            if begins {
                known.looked_up = Some(Instant::now());
                known.is_looked_up = true;
            }
            begins
        });
        if begins {
            self.look_up(&name, lookup, own);
        }
        let present = self.known.borrow().present();
        let mut known = self.known.subscribe();
        let found = known.wait_for(|known| !known.is_looked_up);
        match present {
            // Nothing can be asked before.
            None => drop(found.await),
            // It is asked where it was, if nothing else is known soon.
            Some(_) if begins => drop(timeout(LOOKUP_WAIT_MAX, found).await),
            Some(_) => {}
        }
        let known = self.known.borrow();
        known.present().ok_or_else(|| {
            let problem = known.problem.clone();
            io::Error::new(io::ErrorKind::NotFound, problem.unwrap_or_else(|| "it has no address".to_owned()))
        })
    }

    /// Takes over what was found.
    #[cfg(test)]
    pub(super) fn know(&self, found: Vec<SocketAddr>) {
        self.known.send_modify(|known| known.take("", Ok(found)));
    }

    /// In a task of its own: what is found is kept though whoever asks waits no longer.
    fn look_up(&self, name: &str, lookup: Lookup, own: Option<SocketAddr>) {
        let (name, known) = (name.to_owned(), Arc::clone(&self.known));
        tokio::spawn(async move {
            let mut found = (lookup.by)(name.clone()).await;
            if let Ok(found) = &mut found {
                found.retain(|address| own.is_none_or(|own| !is_itself(own, *address)));
                found.truncate(NAME_ADDRESSES_MAX);
            }
            // It may be said to be elsewhere by now.
            known.send_if_modified(|known| {
                let is_of_it = known.name == name;
                if is_of_it {
                    known.take(&name, found);
                }
                is_of_it
            });
        });
    }
}
