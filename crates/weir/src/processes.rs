//! Child processes of `dev` and `demo`, and the signals that end every process of the binary.
//!
//! A child holds the reading end of a pipe as its standard input and ends when the pipe closes. So it ends when its
//! parent tells it to, and just as well when the parent is killed and can tell nothing any more.

mod children;
mod stop;

pub(crate) use children::{Children, Ended, Spawn};
pub(crate) use stop::{Stop, at_hangups, stop_signal};
