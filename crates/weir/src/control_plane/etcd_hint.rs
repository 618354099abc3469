//! What helps where etcd cannot be used, by what it, or TLS, has said.

use weir_store::EtcdAddress;

/// What is said of a cause.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Hint {
    /// What to try.
    pub(super) text: String,
    /// Whether it may pass without anybody's doing, as where etcd is still being started.
    pub(super) may_pass: bool,
}

/// By parts of what is said: what helps, and whether it may pass.
const BY_CAUSE: [(&[&str], &str, bool); 5] = [
    (
        &["user name is empty"],
        "etcd asks who it is: add ?user=NAME&password-file=FILE to --store, or with --client-cert-auth ?cert=FILE&key=FILE",
        false,
    ),
    (
        &["invalid user ID or password"],
        "are user and password right? What is in password-file counts, but for line ends behind it; `etcdctl --user NAME endpoint \
         status` tries them",
        false,
    ),
    (
        &["authentication is not enabled"],
        "this etcd asks nobody who it is: leave ?user= and ?password-file= out, or `etcdctl auth enable` there",
        false,
    ),
    (
        &["certificate is not accepted: none of the authorities"],
        "name the authority of etcd's certificates: ?ca=FILE, etcd's own --trusted-ca-file as a rule",
        false,
    ),
    (
        &["wants a certificate", "does not accept the certificate", "certificate is not accepted"],
        "etcd's certificates must be for the names or addresses in --store, and ?cert=FILE&key=FILE one of an authority that etcd's \
         --trusted-ca-file names",
        false,
    ),
];

/// What helps where the store cannot be opened for this reason.
pub(super) fn hint(address: &EtcdAddress, reason: &str) -> Hint {
    if reason.contains("permission denied") {
        return Hint { text: grants(address.prefix()), may_pass: false };
    }
    let found = BY_CAUSE.iter().find(|(parts, ..)| parts.iter().any(|part| reason.contains(part)));
    if let Some((_, text, may_pass)) = found {
        return Hint { text: (*text).to_owned(), may_pass: *may_pass };
    }
    let broken = ["stream closed", "connection closed", "broken pipe", "Connection reset", "handshake eof"];
    if broken.iter().any(|part| reason.contains(part)) || reason.contains("does not speak TLS") {
        let text = if address.speaks_tls() {
            "does etcd speak TLS there? If not, leave ?tls=, ?ca=, ?cert= and ?key= out; `etcdctl --endpoints HOST:PORT endpoint \
             health` tells"
        } else {
            "does etcd speak TLS there? Then add ?tls=true to --store, or ?ca=FILE with its authority; `etcdctl --endpoints \
             https://HOST:PORT endpoint health` tells"
        };
        return Hint { text: text.to_owned(), may_pass: true };
    }
    let text = "is etcd there? `etcdctl --endpoints HOST:PORT endpoint health` tells; see docs/etcd.md";
    Hint { text: text.to_owned(), may_pass: true }
}

/// What a role must be granted.
fn grants(prefix: &str) -> String {
    let what = if prefix.is_empty() {
        "--from-key=true readwrite ''".to_owned()
    } else {
        format!("--prefix=true readwrite {prefix}")
    };
    format!(
        "its role must read and write all keys of Weir's: `etcdctl role grant-permission ROLE {what}`; docs/etcd.md has the \
         narrowest grants"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_what_helps() {
        let hint = |address: &str, reason: &str| hint(&address.parse().unwrap(), reason);
        for (address, reason, part, may_pass) in [
            ("etcd://a", "InvalidArgument: etcdserver: user name is empty", "?user=NAME", false),
            (
                "etcd://a",
                "InvalidArgument: etcdserver: authentication failed, invalid user ID or password",
                "password-file",
                false,
            ),
            (
                "etcd://a",
                "PermissionDenied: etcdserver: permission denied",
                "--from-key=true readwrite ''",
                false,
            ),
            (
                "etcd://a?prefix=/shop/",
                "PermissionDenied: etcdserver: permission denied",
                "--prefix=true readwrite /shop`",
                false,
            ),
            (
                "etcd://a?tls=true",
                "Unavailable: the server's certificate is not accepted: none of the authorities that are believed here has \
                 issued it; ?ca= names those to believe",
                "?ca=FILE",
                false,
            ),
            (
                "etcd://a?tls=true",
                "Unavailable: the server's certificate is not accepted: invalid peer certificate: certificate not valid for name",
                "names or addresses in --store",
                false,
            ),
            ("etcd://a", "Unknown: transport error: connection error: stream closed", "?tls=true", true),
            ("etcd://a", "Cancelled: operation was canceled: connection closed", "?tls=true", true),
            ("etcd://a?tls=true", "Unavailable: tls handshake eof: transport error", "leave ?tls=", true),
            ("etcd://a", "Unavailable: tcp connect error: Connection refused", "is etcd there?", true),
        ] {
            let hint = hint(address, reason);
            assert!(hint.text.contains(part) && hint.may_pass == may_pass, "{reason}: {hint:?}");
        }
    }
}
