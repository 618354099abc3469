//! Consul's environment variables: what a command line does not say, they do.
//!
//! Those that ask for something that is not done are refused, so that nobody believes it was. The rest that Consul knows are about
//! tokens, which are not there, or about a proxy that weir does not start: they count for nothing.

use base64::Engine as _;
use http::HeaderValue;

use crate::exit::{Exit, Failure};

/// Names the agent where `-http-addr` does not.
pub(super) const HTTP_ADDR: &str = "CONSUL_HTTP_ADDR";
const HTTP_AUTH: &str = "CONSUL_HTTP_AUTH";
const HTTP_SSL: &str = "CONSUL_HTTP_SSL";
const HTTP_SSL_VERIFY: &str = "CONSUL_HTTP_SSL_VERIFY";
const CA_CERT: &str = "CONSUL_CACERT";
const CA_PATH: &str = "CONSUL_CAPATH";
const CLIENT_CERT: &str = "CONSUL_CLIENT_CERT";
const CLIENT_KEY: &str = "CONSUL_CLIENT_KEY";
const TLS_SERVER_NAME: &str = "CONSUL_TLS_SERVER_NAME";
const NAMESPACE: &str = "CONSUL_NAMESPACE";
const PARTITION: &str = "CONSUL_PARTITION";

/// Flags, and the variables that stand in for them.
const OF_FLAGS: [(&str, &str); 6] = [
    ("ca-file", CA_CERT),
    ("client-cert", CLIENT_CERT),
    ("client-key", CLIENT_KEY),
    ("http-addr", HTTP_ADDR),
    ("namespace", NAMESPACE),
    ("partition", PARTITION),
];

/// The environment, as far as commands look at it.
pub(super) struct Variables<R>(R);

/// The environment of this process.
pub(super) fn here() -> Variables<impl Fn(&str) -> Option<String>> {
    Variables(|name: &str| std::env::var(name).ok())
}

impl<R: Fn(&str) -> Option<String>> Variables<R> {
    /// One that is set to something.
    fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    /// What stands in for a flag.
    pub(super) fn for_flag(&self, flag: &str) -> Option<String> {
        let (_, variable) = OF_FLAGS.iter().find(|(name, _)| *name == flag)?;
        self.get(variable)
    }

    /// The agent's address as it is meant: one that is to be asked over TLS says so.
    ///
    /// # Errors
    /// When a variable says neither yes nor no, or asks of TLS what is not done.
    pub(super) fn address(&self, said: String) -> Result<String, Failure> {
        let address = match (self.switch(HTTP_SSL)?, said.strip_prefix("http://")) {
            (Some(true), Some(rest)) => format!("https://{rest}"),
            (Some(true), None) if !said.contains("://") => format!("https://{said}"),
            _ => said,
        };
        if address.starts_with("https://") {
            self.refuse_what_is_not_done()?;
        }
        Ok(address)
    }

    fn refuse_what_is_not_done(&self) -> Result<(), Failure> {
        let refused = |message: String, hint: &str| Err(Failure::new(Exit::Usage, message).hint(hint));
        if self.switch(HTTP_SSL_VERIFY)? == Some(false) {
            let hint = "-ca-file or CONSUL_CACERT name whom to trust";
            return refused(format!("{HTTP_SSL_VERIFY}: certificates are always verified"), hint);
        }
        if self.get(CA_PATH).is_some() {
            let message = format!("{CA_PATH}: folders of certificates are not read");
            return refused(message, "CONSUL_CACERT names a file, which may hold several");
        }
        if self.get(TLS_SERVER_NAME).is_some() {
            let message = format!("{TLS_SERVER_NAME}: a certificate must be that of the host in the address");
            return refused(message, "-http-addr https://NAME:PORT");
        }
        Ok(())
    }

    /// The field that says who asks, for a proxy before the agent that wants to know: `USER:PASSWORD`.
    ///
    /// # Errors
    /// When it is not written so.
    pub(super) fn authorization(&self) -> Result<Option<HeaderValue>, Failure> {
        let Some(given) = self.get(HTTP_AUTH) else { return Ok(None) };
        // As Consul's: without a colon there is no password.
        let pair = if given.contains(':') { given } else { format!("{given}:") };
        let coded = base64::engine::general_purpose::STANDARD.encode(pair);
        let mut value = HeaderValue::from_str(&format!("Basic {coded}"))
            .map_err(|error| Failure::new(Exit::Usage, format!("{HTTP_AUTH}: {error}")))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    fn switch(&self, name: &str) -> Result<Option<bool>, Failure> {
        match self.get(name).as_deref() {
            None => Ok(None),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Some(true)),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Some(false)),
            Some(other) => {
                Err(Failure::new(Exit::Usage, format!("{name}: `{other}` is neither true nor false")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(variables: &[(&'static str, &'static str)]) -> Variables<impl Fn(&str) -> Option<String> + use<>> {
        let variables = variables.to_vec();
        Variables(move |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn they_stand_in_for_flags() {
        let variables = set(&[(NAMESPACE, "team"), (PARTITION, ""), (HTTP_ADDR, "a:1")]);
        assert_eq!(variables.for_flag("namespace").as_deref(), Some("team"));
        assert_eq!(variables.for_flag("http-addr").as_deref(), Some("a:1"));
        for none in ["partition", "ca-file", "datacenter"] {
            assert_eq!(variables.for_flag(none), None, "{none}");
        }
    }

    #[test]
    fn tls_is_asked_for_by_the_address_or_by_a_variable() {
        let address = |variables: &[_], said: &str| set(variables).address(said.to_owned()).unwrap();
        assert_eq!(address(&[], "a:1"), "a:1");
        assert_eq!(address(&[(HTTP_SSL, "false")], "a:1"), "a:1");
        for said in ["a:1", "http://a:1", "https://a:1"] {
            assert_eq!(address(&[(HTTP_SSL, "true")], said), "https://a:1", "{said}");
        }
        assert_eq!(address(&[(HTTP_SSL_VERIFY, "true"), (HTTP_SSL, "1")], "a:1"), "https://a:1");
        assert_eq!(
            address(&[(CA_PATH, "/x"), (HTTP_SSL_VERIFY, "0")], "a:1"),
            "a:1",
            "without TLS it is nothing"
        );
    }

    #[test]
    fn what_is_not_done_is_refused() {
        for (name, value, says) in [
            (HTTP_SSL_VERIFY, "false", "always verified"),
            (HTTP_SSL_VERIFY, "maybe", "neither true nor false"),
            (CA_PATH, "/etc/ssl", "folders"),
            (TLS_SERVER_NAME, "server.dc1.consul", "the host in the address"),
        ] {
            let failure = set(&[(name, value)]).address("https://a:1".to_owned()).unwrap_err();
            assert!(failure.exit == Exit::Usage && failure.message.contains(says), "{failure}");
        }
        assert!(set(&[(HTTP_SSL, "on")]).address("a:1".to_owned()).is_err());
    }

    #[test]
    fn who_asks_is_said() {
        let said = |value| set(&[(HTTP_AUTH, value)]).authorization().unwrap().unwrap();
        assert_eq!(said("user:word"), "Basic dXNlcjp3b3Jk");
        assert_eq!(said("user"), "Basic dXNlcjo=");
        assert_eq!(set(&[]).authorization().unwrap(), None);
    }
}
