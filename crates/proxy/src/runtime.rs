//! Threads: workers that carry requests, and one control thread that carries nothing else.
//!
//! ```text
//!  run -> Engine::start -> N worker threads (current-thread runtime, tasks that never move)
//!      -> control thread's runtime: source, admin -> shutdown -> Engine::drain
//! ```
//!
//! Workers share nothing that they write often. What a request needs it finds on its own worker.

mod buffers;
mod engine;
mod io;
mod pipes;
mod succession;
mod ticks;
mod timers;
mod view;
mod worker;

pub use engine::{Engine, run};

pub(crate) use buffers::Buffers;
pub(crate) use io::{Idle, Io, poll_write_more};
pub(crate) use pipes::Pipe;
#[cfg(test)]
pub(crate) use timers::Timers;
pub(crate) use timers::{Coarse, TICK, TimerSlot, after_time};
pub(crate) use view::{Broken, View};
pub(crate) use worker::{Scratch, Worker};
