//! The sink that keeps what routing says.

use crate::route::{Reasons, Unmet};

/// What routing considered, in order.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// The section that serves the host.
    pub(super) section: Option<usize>,
    /// The matches looked at, by index, with what was not met; nothing for the one that won.
    pub(super) looked_at: Vec<(u32, Option<Unmet>)>,
}

impl Record {
    /// The match that won.
    pub(super) fn winner(&self) -> Option<u32> {
        self.looked_at.iter().find(|(_, unmet)| unmet.is_none()).map(|(id, _)| *id)
    }
}

impl Reasons for Record {
    fn section(&mut self, section: usize) {
        self.section = Some(section);
    }

    fn unmet(&mut self, matcher: u32, why: Unmet) {
        self.looked_at.push((matcher, Some(why)));
    }

    fn won(&mut self, matcher: u32) {
        self.looked_at.push((matcher, None));
    }
}
