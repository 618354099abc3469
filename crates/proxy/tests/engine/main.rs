//! The engine from the outside: raw clients, a proxy in this process, raw upstreams.

mod basics;
mod support;
