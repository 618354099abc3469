//! The control plane's domain: registry, health, KV, sessions, locks, records, declared resources, and the catalog that serves all reads.
//!
//! ```text
//! edge ──> command ──> decision (pure, over the catalog's state) ──> store transaction
//!                                                                        │ watch
//!            subscribers, blocking queries, views <── catalog <──────────┘
//! ```
//!
//! Writes go only to the store. Reads are served only from the catalog, which changes only through the store's watch.
//! A write answers once the own catalog shows it. So every replica behaves alike, and what is served is what was
//! committed.
//!
//! This crate speaks no protocol: no HTTP, and no name of a foreign API. Start with [`Control`].

mod backup;
pub mod bounds;
pub mod catalog;
mod changes;
mod commit;
mod control;
mod error;
mod follow;
pub mod health;
pub mod ids;
mod keys;
pub mod kv;
mod lease;
pub mod lock;
pub mod proxies;
pub mod quota;
pub mod records;
pub mod registry;
mod replicas;
pub mod resources;
pub mod session;
mod settings;
mod told;
mod turns;
pub mod txn;

pub use backup::{Backup, is_carried, servers_on};
pub use catalog::{Catalog, Topic};
pub use changes::{Change, ChangeEvent, Changes};
pub use control::Control;
pub use error::{Error, Problem};
pub use replicas::{Heartbeat, Replica};
pub use settings::Settings;
pub use told::News;
