//! Who serves requests, one after another, whoever's they are.
//!
//! ```text
//!  connection, waiting --- a head ---> takes an attendant from the worker
//!                                        attendant: connection + request -> response
//!  connection, waiting <-- the rest --- gives the attendant back
//! ```
//!
//! What a request needs while it is served, the states of everything that is waited for, is several times as large as a
//! connection that waits. It is in here, and there are as many of these as there were requests at once.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::Connection;
use super::decode::Next;
use crate::runtime::Worker;

/// Does what comes next on a connection; then on another.
pub(crate) struct Attendant {
    desk: Rc<Desk>,
    /// Never ends. Whoever polls it is woken for what it waits for.
    work: Pin<Box<dyn Future<Output = ()>>>,
}

/// What goes in and out.
#[derive(Default)]
struct Desk {
    given: Cell<Option<(Box<Connection>, Next)>>,
    done: Cell<Option<Done>>,
}

/// What became of a connection.
pub(super) enum Done {
    /// It waits for another head.
    GoesOn(Box<Connection>),
    /// It is over. The attendant is this worker's.
    Over(Rc<Worker>),
}

impl Attendant {
    pub(crate) fn new() -> Box<Self> {
        let desk = Rc::<Desk>::default();
        Box::new(Self { work: Box::pin(work(desk.clone())), desk })
    }

    /// Gives it something to do. It must have nothing to do.
    #[inline]
    pub(super) fn give(&self, conn: Box<Connection>, next: Next) {
        self.desk.given.set(Some((conn, next)));
    }

    /// Ready when that is done.
    #[inline]
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Done> {
        let _ = self.work.as_mut().poll(cx);
        match self.desk.done.take() {
            Some(done) => Poll::Ready(done),
            None => Poll::Pending,
        }
    }
}

async fn work(desk: Rc<Desk>) {
    loop {
        let (mut conn, next) = poll_fn(|_| desk.given.take().map_or(Poll::Pending, Poll::Ready)).await;
        let done =
            if conn.carry_out(next).await { Done::GoesOn(conn) } else { Done::Over(conn.worker.clone()) };
        desk.done.set(Some(done));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There is one for each request that is under way.
    #[test]
    fn an_attendant_is_no_larger_than_need_be() {
        let bytes = size_of_val(&work(Rc::default()));
        assert!(bytes <= 900, "{bytes}");
    }
}
