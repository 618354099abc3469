//! What keeps web pages of others away from servers on this machine: every HTTP interface of Weir asks here before it
//! answers, since a browser would send it requests on behalf of whoever wrote the page.

mod host;
mod origin;

pub use host::AllowedHosts;
pub use origin::{REFUSAL, is_foreign};
