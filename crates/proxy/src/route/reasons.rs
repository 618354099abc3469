//! Why routing decided as it did: a sink that the one and only routing code reports to.
//!
//! On the request path the sink is [`NoReasons`], whose methods are empty and vanish when compiled; `explain` brings one
//! that keeps what it is told.

use super::conditions::Unmet;

/// Is told what routing considers, in the order in which it does.
pub trait Reasons {
    /// A listener section that serves the host was chosen.
    fn section(&mut self, _section: usize) {}
    /// A match, by its index in the table, was looked at and not taken.
    fn unmet(&mut self, _matcher: u32, _why: Unmet) {}
    /// A match, by its index in the table, was taken.
    fn won(&mut self, _matcher: u32) {}
}

/// Forgets everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoReasons;

impl Reasons for NoReasons {}
