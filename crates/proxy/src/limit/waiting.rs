//! Requests that wait for a place, on whichever worker, and how it goes on with them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use weir_policy::limit::{Grant, Refusal, Ticket};

/// How it goes on with one that waited.
pub(super) type Word = Result<Grant, Refusal>;

/// Those that wait for one limit. As many as its queue takes.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<HashMap<Ticket, Place>>);

#[derive(Debug)]
enum Place {
    /// Somebody waits to be told.
    Taken(oneshot::Sender<Word>),
    /// The word was there before anybody waited for it.
    Early(Word),
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, HashMap<Ticket, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the word for a ticket will be. Who got the ticket asks once.
    pub(super) fn expect(&self, ticket: Ticket) -> oneshot::Receiver<Word> {
        let (sender, receiver) = oneshot::channel();
        let mut places = self.lock();
        match places.remove(&ticket) {
            // The receiver is at hand, so it cannot be gone.
            Some(Place::Early(word)) => drop(sender.send(word)),
            _ => drop(places.insert(ticket, Place::Taken(sender))),
        }
        receiver
    }

    /// Hands over the word for a ticket. Gives it back if whoever waited has closed his end.
    pub(super) fn deliver(&self, ticket: Ticket, word: Word) -> Option<Word> {
        let mut places = self.lock();
        match places.remove(&ticket) {
            Some(Place::Taken(sender)) => sender.send(word).err(),
            Some(Place::Early(_)) | None => {
                places.insert(ticket, Place::Early(word));
                None
            }
        }
    }

    /// Nobody waits for a ticket any more, and no word is under way.
    pub(super) fn forget(&self, ticket: Ticket) {
        self.lock().remove(&ticket);
    }
}
