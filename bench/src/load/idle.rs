//! Connections that have had one answer and wait.

use std::net::TcpStream;

use anyhow::{Context, Result, ensure};

use crate::case::Case;
use crate::client;
use crate::setup::Front;

/// Opens the case's connections; they stay open as long as what is given back lives.
pub(crate) fn open(case: &Case, port: u16) -> Result<Vec<TcpStream>> {
    let request = client::request(case.path, false);
    let config = client::tls_config()?;
    let open_one = || {
        let (answer, stream) = if case.setup.front == Front::Tls {
            let mut stream = client::connect_tls(port, &config)?;
            // Only the other side's memory matters: the session is not kept here.
            (client::ask(&mut stream, &request)?, stream.sock)
        } else {
            let mut stream = client::connect(port)?;
            (client::ask(&mut stream, &request)?, stream)
        };
        ensure!(answer.status == 200, "answered with {}", answer.status);
        Ok(stream)
    };
    (0..case.connections)
        .map(|_| open_one())
        .collect::<Result<_>>()
        .context("opening idle connections (is the open-file limit high enough? see `ulimit -n`)")
}
