//! Locks: at most `count` claims hold one at a time, the others wait in the order in which they came.
//!
//! A claim is one stored key; which claims hold the lock follows from the order of the revisions that created them and
//! needs no further write. That revision, led by the store's epoch, is the claim's fencing token: whoever comes to hold
//! the lock later has a greater one, whatever was restarted, deleted or restored in between.
//!
//! A claim lives as long as it is renewed (see `crate::lease`), its instance or session lives, and nobody releases
//! it. Every change of a lock's claims also writes the lock itself, so that of two changes which were decided on the
//! same state only one is committed.

mod commands;
mod decide;
mod entry;
mod token;
mod view;

pub use commands::{Acquired, NewClaim};
pub(crate) use decide::is_alive;
pub use entry::{Claim, ClaimEntry, ClaimInstance, ClaimRef, Lock, LockRef};
pub use token::{BadToken, Token};
pub use view::{ClaimView, LockView};
