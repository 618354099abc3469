//! TLS at the gateway, with rustls as the client and certificates made here.

mod basics;
mod files;
mod origination;
mod reload;
mod selection;
mod traffic;

pub(crate) use files::*;
