//! What is said about each key in the printed configuration file.

/// One key.
#[derive(Debug)]
pub(super) struct Key {
    /// Its name: the flag's, without the dashes.
    pub(super) name: &'static str,
    /// Its default, as it stands in the file.
    pub(super) default: &'static str,
    /// What it means.
    pub(super) about: &'static str,
}

impl Key {
    /// What it means, as a comment behind an empty line.
    pub(super) fn comment(&self) -> String {
        let lines = self.about.lines().map(|line| format!("# {line}\n"));
        format!("\n{}", lines.collect::<String>())
    }
}

/// Every key, in the order of the printed file.
pub(super) static KEYS: &[Key] = &[
    Key {
        name: "http",
        default: "127.0.0.1:8500",
        about: "Where the HTTP APIs are served: the native API and Consul's, IP:PORT. IPv6: \"[::1]:8500\".",
    },
    Key { name: "grpc", default: "127.0.0.1:8502", about: "Where proxies connect, IP:PORT." },
    Key {
        name: "dns",
        default: "127.0.0.1:8600",
        about: "Where DNS is served, over UDP and TCP, IP:PORT; off: nowhere.",
    },
    Key {
        name: "dns-insecure",
        default: "false",
        about: "Whether DNS, and nothing else, may be served on an address that other machines reach: it is not encrypted.",
    },
    Key {
        name: "dns-domain",
        default: "consul",
        about: "The domain that names are below: web.service.consul.",
    },
    Key { name: "dns-alt-domain", default: "null", about: "A second domain, beside it." },
    Key {
        name: "dns-recursor",
        default: "[]",
        about: "DNS servers that are asked for names of other domains, IP or IP:PORT, tried in turn. None: such queries\n\
                are refused.",
    },
    Key {
        name: "dns-only-passing",
        default: "false",
        about: "Whether instances that warn are left out of answers. Critical ones always are.",
    },
    Key { name: "dns-node-ttl", default: "0s", about: "How long resolvers may keep answers about nodes." },
    Key {
        name: "dns-service-ttl",
        default: "[]",
        about: "How long resolvers may keep answers about services: 5s for all, web=30s for one, web*=30s for those\n\
                whose names begin so. What no rule is for is not kept.",
    },
    Key {
        name: "dns-negative-ttl",
        default: "0s",
        about: "How long resolvers may keep that there is nothing of a name.",
    },
    Key {
        name: "data-dir",
        default: "null",
        about: "The directory in which everything is kept. null: in memory, lost when the server ends.",
    },
    Key {
        name: "store",
        default: "null",
        about: "Keep everything in an etcd cluster instead, so that several servers can share it:\n\
                etcd://HOST:PORT[,HOST:PORT...][?OPTION=VALUE&...] with the options prefix, user, password-file, tls, ca,\n\
                cert, key, and compact (false if whoever runs etcd compacts its history).",
    },
    Key {
        name: "advertise",
        default: "null",
        about: "The IP address under which other servers with the same store reach this one. null: the one it listens on,\n\
                or, where it listens on all, the one from which it reaches etcd.",
    },
    Key {
        name: "tls-cert",
        default: "null",
        about: "The certificate that is shown to HTTP clients and proxies: a file with its chain, PEM, leaf first. null: no TLS.",
    },
    Key { name: "tls-key", default: "null", about: "Its private key: a file, PEM." },
    Key {
        name: "tls-client-ca",
        default: "null",
        about: "A file with authorities, PEM: only who shows a certificate of one of them is let in. null: everybody is.",
    },
    Key {
        name: "tls-ca",
        default: "null",
        about: "A file with authorities, PEM, that certificates of other servers with the same store are checked against. null:\n\
                those of tls-client-ca, else the system's.",
    },
    Key {
        name: "file",
        default: "[]",
        about: "Files with documents (Gateway, HTTPRoute, Service, ...), or directories of such files, that are applied\n\
                at start.",
    },
    Key { name: "datacenter", default: "dc1", about: "The name of this cluster, as Consul clients see it." },
    Key {
        name: "node-name",
        default: "null",
        about: "The node that registrations made at this server belong to. null: the host's name; with a store that is\n\
                shared, weir, so that all servers have it in common.",
    },
    Key {
        name: "insecure",
        default: "false",
        about: "Whether it may listen, DNS included, on addresses that other machines reach without asking clients for a\n\
                certificate (tls-client-ca), although there are no tokens yet.",
    },
    Key {
        name: "allowed-hosts",
        default: "[]",
        about: "Host names under which the HTTP APIs may be asked where they are served on loopback, beside IP\n\
                addresses, localhost and this host's name. Requests for other names are refused: a web page whose\n\
                name was made to lead here could have sent them. Not looked at beyond loopback.",
    },
    Key {
        name: "open-files",
        default: "0",
        about: "How many files and connections may be open at once. 0: as many as the system allows.",
    },
    Key {
        name: "log-level",
        default: "info",
        about: "What is logged: error, warn, info, debug or trace; or a filter such as warn,weir_edge=debug.",
    },
    Key {
        name: "log-format",
        default: "text",
        about: "How a log line looks: text for people, json for programs.",
    },
];
