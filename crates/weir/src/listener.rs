//! Where HTTP APIs are served: an address, in the clear or over TLS.

use weir_api::client::HTTP_PROTOCOL;
use weir_edge::http::{Server, ServerConfig as HttpConfig, ServerError};
use weir_tls::{Acceptor, ServerFiles};

use crate::cli::ListenAddress;
use crate::control_plane::cannot_bind;
use crate::exit::{Exit, Failure};
use crate::loopback;

/// One address.
#[derive(Clone, Debug)]
pub(crate) struct HttpListen {
    /// The flag that names it.
    pub flag: &'static str,
    /// Where it is.
    pub address: ListenAddress,
    /// What is shown there, and who is let in; no TLS when absent.
    pub tls: Option<ServerFiles>,
}

impl HttpListen {
    /// Whether it may be served.
    ///
    /// # Errors
    /// For an address that others can reach, unless they must show a certificate.
    pub(crate) fn check(&self, insecure: bool) -> Result<(), Failure> {
        loopback::check_http(self.flag, self.address.0, insecure, self.tls.as_ref())
    }

    /// Binds it; and what has its files of TLS read anew.
    async fn bind(&self, hosts: &[String]) -> Result<(Server, Option<Acceptor>), Failure> {
        let acceptor = self.tls.clone().map(|files| Acceptor::load(files, HTTP_PROTOCOL)).transpose();
        let acceptor = acceptor
            .map_err(|reason| Failure::new(Exit::CannotStart, format!("cannot speak TLS: {reason}")))?;
        let server = Server::bind(self.address.0, HttpConfig::default())
            .await
            .map_err(|ServerError::Bind { address, cause }| cannot_bind(self.flag, address, &cause))?;
        let hosts = hosts.iter().cloned().chain([crate::host_name()]);
        Ok((server.allow_hosts(hosts).tls(acceptor.clone()), acceptor))
    }
}

/// Binds each of them, to be asked on loopback under these names too; and what has their files of TLS read anew.
///
/// # Errors
/// When files or an address cannot be used.
pub(crate) async fn bind(
    listens: &[HttpListen],
    hosts: &[String],
) -> Result<(Vec<Server>, Vec<Acceptor>), Failure> {
    let (mut servers, mut acceptors) = (Vec::new(), Vec::new());
    for listen in listens {
        let (server, acceptor) = listen.bind(hosts).await?;
        servers.push(server);
        acceptors.extend(acceptor);
    }
    Ok((servers, acceptors))
}
