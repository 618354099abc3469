//! Limits that processes keep together: who asks when, and the books from which they are given leases.
//!
//! The control plane's answers take no time, and it is there unless a fault says otherwise: then nobody is answered, and asks again.
//! A world begins with processes that have shared their limits evenly for a while: nothing was asked for yet.

use std::collections::BTreeMap;

use weir_policy::Nanos;
use weir_policy::quota::{ASK_AGAIN, ASK_EVERY, Book, LEASE_TTL};

use super::{NONE, What, World};

/// A process that shares limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Process {
    /// A proxy of clients.
    Proxy(u32),
    /// The sidecar of a server.
    Sidecar(u32),
}

/// The processes that share limits, and what they have been given.
#[derive(Debug, Default)]
pub(super) struct Shares {
    /// In the order of processes.
    sharers: Vec<Sharer>,
    books: BTreeMap<(Where, usize), Book>,
    /// Until when a book that begins gives nothing: what the control plane before this one has leased is over by then.
    silent_until: Nanos,
}

#[derive(Debug)]
struct Sharer {
    process: Process,
    name: String,
    /// When it asks next; events of other moments mean nothing.
    due: u64,
}

/// Where a limit is declared; which of those there it is says its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Where {
    /// At a service, by its number.
    Service(u32),
    /// At a group of servers, by its number.
    Group(u32),
}

impl Shares {
    /// A control plane that begins knows nothing of what the one before it has given out.
    pub(super) fn forget(&mut self, now: Nanos) {
        self.books.clear();
        self.silent_until = now + LEASE_TTL;
    }
}

/// So often everybody asks before the world begins: once to be known, and until nobody has anything to give up.
const ROUNDS_BEFORE: usize = 4;

impl World<'_> {
    /// Finds out who shares limits, and lets them share evenly.
    pub(super) fn begin_to_share(&mut self) {
        let proxies = (0..).zip(&self.proxies).filter(|(_, proxy)| proxy.shares_limits());
        let guarded = self.guarded.iter().filter(|server| {
            self.servers[**server as usize].guard.as_ref().is_some_and(|guard| guard.shares_limits())
        });
        let processes = proxies
            .map(|(number, _)| Process::Proxy(number))
            .chain(guarded.map(|number| Process::Sidecar(*number)));
        let sharer = |process| Sharer { process, name: name(process), due: 0 };
        self.shares.sharers = processes.map(sharer).collect();
        let count = self.shares.sharers.len();
        for _ in 0..ROUNDS_BEFORE {
            for number in 0..count {
                self.ask_book(number);
            }
        }
        for number in 0..count {
            // One after the other within the time after which they ask again.
            let due = (nanos(ASK_EVERY) as u128 * (number as u128 + 1) / count as u128) as u64;
            self.ask_at(number, due);
        }
    }

    /// A process was started, and asks for its shares at once.
    pub(super) fn share_anew(&mut self, process: Process) {
        if let Ok(number) = self.shares.sharers.binary_search_by_key(&process, |sharer| sharer.process) {
            self.ask_at(number, self.now);
        }
    }

    /// It is time for a process to ask.
    pub(super) fn ask(&mut self, number: u32) {
        let number = number as usize;
        let Sharer { process, due, .. } = self.shares.sharers[number];
        if due != self.now {
            return;
        }
        if let Process::Sidecar(server) = process {
            let server = &self.servers[server as usize];
            // It asks when it is started.
            if !server.up {
                return;
            }
            // The sidecar of a frozen machine is frozen as well.
            if self.now < server.paused_until {
                let until = server.paused_until;
                return self.ask_at(number, until);
            }
        }
        let group = match process {
            Process::Proxy(proxy) => Some(self.proxies[proxy as usize].group),
            Process::Sidecar(_) => None,
        };
        let answered = !self.is_alone(group);
        let after = if answered && self.ask_book(number) { ASK_AGAIN } else { ASK_EVERY };
        self.ask_at(number, self.now.saturating_add(nanos(after)));
    }

    fn ask_at(&mut self, number: usize, due: u64) {
        self.shares.sharers[number].due = due;
        self.queue.push(due, What::Ask(u32::try_from(number).unwrap_or(NONE)));
    }

    /// Asks for all that a process shares. Tells whether it has given something up.
    fn ask_book(&mut self, number: usize) -> bool {
        let now = self.moment();
        let Shares { sharers, books, silent_until } = &mut self.shares;
        let Sharer { process, name, .. } = &sharers[number];
        let mut lease = |place: Where, rule: usize, wish| {
            let book = books.entry((place, rule)).or_insert_with(|| Book::new(*silent_until));
            (book.ask(name, wish, now), book.holders())
        };
        match *process {
            Process::Proxy(proxy) => self.proxies[proxy as usize]
                .ask(&mut |service, rule, wish| lease(Where::Service(service), rule, wish), now),
            Process::Sidecar(server) => {
                let server = &mut self.servers[server as usize];
                let group = server.group;
                server.guard.as_mut().is_some_and(|guard| {
                    server.up && guard.ask(&mut |rule, wish| lease(Where::Group(group), rule, wish), now)
                })
            }
        }
    }
}

/// What the book knows it by.
fn name(process: Process) -> String {
    match process {
        Process::Proxy(number) => format!("proxy {number}"),
        Process::Sidecar(number) => format!("server {number}"),
    }
}

fn nanos(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
