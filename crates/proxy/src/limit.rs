//! Phase `limit`: which requests go on, which wait for their turn, and which are refused, by the `RateLimit` documents.
//!
//! ```text
//! rule and service (route) -> chain of limits -> keys -> each limit in turn -> go on | wait | refused
//!                                                            response over  -> places are given back
//! ```
//!
//! What decides is `weir_policy::limit`; here requests are described to it, those that wait are kept, and what was decided is
//! counted. A limit is one for all workers: its state is keyed by document and target and carried over from snapshot to
//! snapshot. Limits of gateways and routes hold at the gateway; those of a service at gateways, and at the sidecars in front of
//! its instances. Nothing is limited where an application's own calls leave. A call that a breaker sends to another service passes
//! the limits of that one as well (`elsewhere`).

mod elsewhere;
pub(crate) mod key;
mod pass;
mod reach;
mod rule;
mod standing;
mod table;
mod waiting;

pub(crate) use elsewhere::{Elsewhere, There};
pub(crate) use key::Asker;
pub(crate) use pass::{Pass, Refused, Step};
pub use rule::Limit;
pub(crate) use standing::Says;
pub use table::{Chain, LimitTable};
