//! Child processes of `dev` and `demo`, the signals that end every process of the binary, and the file that names it.
//!
//! A child holds the reading end of a pipe as its standard input and ends when the pipe closes. So it ends when its
//! parent tells it to, and just as well when the parent is killed and can tell nothing any more.

mod children;
mod pid_file;
mod stop;

pub(crate) use children::{Children, Ended, Spawn};
pub(crate) use pid_file::PidFile;
pub(crate) use stop::{Stop, at_hangups, hangups, stop_signal};
