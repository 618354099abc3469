//! The Consul API over a real socket and a store in memory: what is answered to good and to bad requests.

mod answers;
mod configs;
mod events;
mod hostile;
mod operator;
mod queries;
mod refusals;
mod sessions;
mod snapshots;
mod support;
mod transactions;
mod watches;
