//! The Consul API over a real socket and a store in memory: what is answered to good and to bad requests.

mod answers;
mod hostile;
mod refusals;
mod sessions;
mod support;
mod watches;
