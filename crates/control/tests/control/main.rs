//! The control plane over its public interface, on the memory engine.

mod blocking;
mod golden;
mod health;
mod kv;
mod locks;
mod node_ids;
mod property;
mod quota;
mod records;
mod registry;
mod replicas;
mod resources;
mod restore;
mod resync;
mod sessions;
mod support;
mod txn;
