//! Protocol servers over the domain: what foreign protocols say is converted here, and goes no further inward.

mod accept;
pub mod consul;
pub mod dns;
pub mod fuzzing;
pub mod http;
pub mod mesh;
pub mod native;
pub mod prober;
pub mod replicas;
