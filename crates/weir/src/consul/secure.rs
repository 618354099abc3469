//! What Consul's configuration says of TLS at the listener of HTTPS: which files, and who is let in.
//!
//! Consul has one set of settings for all listeners (`tls.defaults`, or on the outermost level as it was written before) and one
//! for that of HTTPS (`tls.https`), which goes first.

use std::path::PathBuf;

use serde_json::Value;
use weir_tls::ServerFiles;

use super::settings::{flag, text};
use crate::exit::{Exit, Failure};

/// What was said.
#[derive(Clone, Debug, Default)]
pub(super) struct Secure {
    all: Said,
    https: Said,
}

/// What was said in one place.
#[derive(Clone, Debug, Default)]
struct Said {
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    verify_incoming: Option<bool>,
}

impl Secure {
    /// Takes over what a key says; whether it is one of these.
    ///
    /// # Errors
    /// When its value makes no sense.
    pub(super) fn set(&mut self, key: &str, value: &Value) -> Result<bool, String> {
        let (said, name) = match key.strip_prefix("tls.https.") {
            Some(name) => (&mut self.https, name),
            None if key == "verify_incoming_https" => (&mut self.https, "verify_incoming"),
            None => (&mut self.all, key.strip_prefix("tls.defaults.").unwrap_or(key)),
        };
        let file = |value| text(value).map(|path| Some(PathBuf::from(path)).filter(|path| path != ""));
        match name {
            "ca_file" => said.ca = file(value)?,
            "cert_file" => said.cert = file(value)?,
            "key_file" => said.key = file(value)?,
            "verify_incoming" => said.verify_incoming = Some(flag(value)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether anything was said that only a listener of HTTPS does.
    pub(super) fn is_said(&self) -> bool {
        [&self.all, &self.https].iter().any(|said| said.cert.is_some() || said.verify_incoming == Some(true))
    }

    /// The files of the listener.
    ///
    /// # Errors
    /// When one is missing.
    pub(super) fn files(&self) -> Result<ServerFiles, Failure> {
        let either = |of: fn(&Said) -> Option<PathBuf>| of(&self.https).or_else(|| of(&self.all));
        let missing = |message: &str| {
            Failure::new(Exit::Usage, format!("ports.https: {message}"))
                .hint("name files in tls.defaults or tls.https; `\"https\": -1` serves none")
        };
        let verifies = self.https.verify_incoming.or(self.all.verify_incoming) == Some(true);
        let client_ca = match either(|said| said.ca.clone()) {
            None if verifies => return Err(missing("verify_incoming wants ca_file, and there is none")),
            ca => ca.filter(|_| verifies),
        };
        let cert = either(|said| said.cert.clone()).ok_or_else(|| missing("TLS wants cert_file"))?;
        let key = either(|said| said.key.clone()).ok_or_else(|| missing("TLS wants key_file"))?;
        Ok(ServerFiles { cert, key, client_ca })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn files(said: &[(&str, Value)]) -> Result<ServerFiles, String> {
        let mut secure = Secure::default();
        for (key, value) in said {
            assert_eq!(secure.set(key, value), Ok(true), "{key}");
        }
        secure.files().map_err(|failure| failure.message)
    }

    #[test]
    fn that_of_https_goes_before_that_of_all() {
        let old = [("cert_file", json!("c")), ("key_file", json!("k")), ("ca_file", json!("a"))];
        let named = |cert: &str, client_ca: Option<&str>| {
            Ok(ServerFiles { cert: cert.into(), key: "k".into(), client_ca: client_ca.map(Into::into) })
        };
        assert_eq!(files(&old), named("c", None), "who is not told to verify lets everybody in");
        let with = |more: &[(&str, Value)]| files(&[&old[..], more].concat());
        for verifies in ["verify_incoming", "verify_incoming_https", "tls.https.verify_incoming"] {
            assert_eq!(with(&[(verifies, json!(true))]), named("c", Some("a")), "{verifies}");
        }
        let more =
            [("tls.defaults.verify_incoming", json!(true)), ("tls.https.verify_incoming", json!(false))];
        assert_eq!(with(&more), named("c", None));
        assert_eq!(with(&[("tls.https.cert_file", json!("d"))]), named("d", None));
    }

    #[test]
    fn what_is_missing_is_named() {
        for (said, missing) in [
            (&[][..], "ports.https: TLS wants cert_file"),
            (&[("tls.defaults.cert_file", json!("c"))], "ports.https: TLS wants key_file"),
            (&[("verify_incoming", json!(true))], "ports.https: verify_incoming wants ca_file"),
        ] {
            let message = files(said).unwrap_err();
            assert!(message.starts_with(missing), "{message}");
        }
        assert_eq!(Secure::default().set("ca_path", &json!("x")), Ok(false));
    }
}
