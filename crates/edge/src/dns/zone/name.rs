//! What a name below the domain stands for.
//!
//! ```text
//! [TAG.]SERVICE.service[.PLACE]      _SERVICE._TAG[.service][.PLACE]
//! NODE.node[.PLACE]      HEX.addr[.PLACE]      NAME.query[.PLACE]      _NAME._PROTOCOL.query[.PLACE]
//! PLACE:  DC  |  NAMESPACE.DC  |  [NAMESPACE.ns.][default.ap.][DC.dc]
//! ```
//!
//! The word furthest to the right decides, as in Consul. A name that only other names lie below is there as well, without
//! data (RFC 8020): resolvers that ask for one label after the other must not be told that it does not exist.

use std::net::IpAddr;

use weir_model::DEFAULT_NAMESPACE;
use weir_model::dns_names::{Place, is_kind, place};

use crate::dns::record::unhex;

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject<'a> {
    /// The domain itself.
    Apex,
    /// The server itself: `ns`.
    Nameserver,
    /// A service, perhaps only its instances with a tag.
    Service {
        /// Its namespace.
        namespace: &'a str,
        /// The labels before `service`.
        labels: &'a [String],
    },
    /// A service by `_SERVICE._TAG`.
    Underscored {
        /// Its namespace.
        namespace: &'a str,
        /// The service.
        service: &'a str,
        /// The tag; `None` where it says `_tcp`.
        tag: Option<&'a str>,
    },
    /// A node.
    Node(String),
    /// An address.
    Address(IpAddr),
    /// A prepared query.
    Query(String),
    /// A name that only others lie below.
    Branch {
        /// The namespace they belong to.
        namespace: &'a str,
    },
    /// Nothing, and why.
    Nothing(&'static str),
}

const NO_SUCH_PLACE: &str = "no such datacenter here, or no name of this form";

/// What these labels before the domain, in lower case, stand for.
pub(super) fn subject<'a>(labels: &'a [String], datacenter: &str) -> Subject<'a> {
    match labels {
        [] => return Subject::Apex,
        [only] if only == "ns" => return Subject::Nameserver,
        _ => {}
    }
    let decides = |label: &String| label.starts_with('_') || is_kind(label);
    let Some(at) = labels.iter().rposition(decides) else { return branch(labels, datacenter) };
    let (kind, before, after) = (labels[at].as_str(), &labels[..at], &labels[at + 1..]);
    let Some(place) = place(after, datacenter) else { return Subject::Nothing(NO_SUCH_PLACE) };
    if kind.starts_with('_') {
        return underscored(&labels[..=at], &place);
    }
    if before.is_empty() {
        return Subject::Branch { namespace: place.namespace() };
    }
    match kind {
        "service" => service(before, &place),
        // Nodes, addresses and queries belong to the cluster.
        _ if place.namespace.is_some_and(|namespace| namespace != DEFAULT_NAMESPACE) => {
            Subject::Nothing("nodes, addresses and queries are in no namespace")
        }
        "node" => Subject::Node(before.join(".")),
        "addr" => match before {
            [label] => unhex(label).map_or(Subject::Nothing("no address in hexadecimal"), Subject::Address),
            _ => Subject::Nothing("an address is one label"),
        },
        "query" => Subject::Query(query(before)),
        _ => Subject::Nothing("there is no service mesh by name; ask for the service"),
    }
}

/// The name of a prepared query: all that stands before `query`, or what is between the underscores of `_NAME._tcp` (RFC 2782), where
/// the protocol counts for nothing, as in Consul.
fn query(labels: &[String]) -> String {
    match labels {
        [first, .., last] if first.starts_with('_') && last.starts_with('_') => {
            labels[..labels.len() - 1].join(".")[1..].to_owned()
        }
        all => all.join("."),
    }
}

fn service<'a>(labels: &'a [String], place: &Place<'a>) -> Subject<'a> {
    let marked = labels.iter().all(|label| label.starts_with('_'));
    match labels.len() {
        2 if marked => underscored(labels, place),
        _ => Subject::Service { namespace: place.namespace(), labels },
    }
}

/// `_SERVICE._TAG` (RFC 2782). `_tcp` is the protocol of all services rather than a tag.
fn underscored<'a>(labels: &'a [String], place: &Place<'a>) -> Subject<'a> {
    let namespace = place.namespace();
    match labels {
        [service, tag] if service.starts_with('_') => {
            let tag = &tag[1..];
            let tag = if tag == "tcp" || tag.is_empty() { None } else { Some(tag) };
            Subject::Underscored { namespace, service: &service[1..], tag }
        }
        [_] => Subject::Branch { namespace },
        _ => Subject::Nothing("expected _SERVICE._tcp or _SERVICE._TAG"),
    }
}

/// Labels without a deciding word: places, or the ends of places.
fn branch<'a>(labels: &'a [String], datacenter: &str) -> Subject<'a> {
    let end = match labels {
        [first, rest @ ..] if matches!(first.as_str(), "ns" | "ap" | "dc") => rest,
        all => all,
    };
    match place(end, datacenter) {
        Some(place) => Subject::Branch { namespace: place.namespace() },
        None => Subject::Nothing(NO_SUCH_PLACE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: &Subject<'_>) {
        let labels: Vec<String> = name.split('.').filter(|l| !l.is_empty()).map(str::to_owned).collect();
        assert_eq!(subject(&labels, "dc1"), *expected, "{name}");
    }

    fn labels(text: &str) -> Vec<String> {
        text.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn services_in_every_place() {
        for (name, namespace, before) in [
            ("web.service", "default", "web"),
            ("web.service.dc1", "default", "web"),
            ("web.service.dc1.dc", "default", "web"),
            ("web.service.team.ns", "team", "web"),
            ("web.service.team.dc1", "team", "web"),
            ("web.service.team.ns.dc1.dc", "team", "web"),
            ("web.service.dc1.dc.team.ns", "team", "web"),
            ("web.service.team.ns.default.ap.dc1.dc", "team", "web"),
            ("v1.web.service", "default", "v1.web"),
            ("a.b.web.service.dc1", "default", "a.b.web"),
            ("node.service", "default", "node"),
            ("service.service", "default", "service"),
            ("_web.service", "default", "_web"),
        ] {
            let before = labels(before);
            check(name, &Subject::Service { namespace, labels: &before });
        }
    }

    #[test]
    fn underscores_with_and_without_the_word() {
        for (name, tag) in [
            ("_web._tcp.service", None),
            ("_web._tcp", None),
            ("_web._tcp.dc1", None),
            ("_web._v1.service.dc1", Some("v1")),
            ("_web._udp", Some("udp")),
        ] {
            check(name, &Subject::Underscored { namespace: "default", service: "web", tag });
        }
        check("_web._tcp.team.ns", &Subject::Underscored { namespace: "team", service: "web", tag: None });
        check("_tcp", &Subject::Branch { namespace: "default" });
        check("a._web._tcp", &Subject::Nothing("expected _SERVICE._tcp or _SERVICE._TAG"));
        check("web._tcp", &Subject::Nothing("expected _SERVICE._tcp or _SERVICE._TAG"));
    }

    #[test]
    fn nodes_addresses_and_the_server() {
        check("best.query", &Subject::Query("best".into()));
        check("a.best.query.dc1", &Subject::Query("a.best".into()));
        check("_best._tcp.query", &Subject::Query("best".into()));
        check("_a.best._udp.query.dc1.dc", &Subject::Query("a.best".into()));
        check("_best.query", &Subject::Query("_best".into()));
        check("best._tcp.query", &Subject::Query("best._tcp".into()));
        check("query", &Subject::Branch { namespace: "default" });
        check("", &Subject::Apex);
        check("ns", &Subject::Nameserver);
        check("a.node", &Subject::Node("a".into()));
        check("a.example.com.node.dc1", &Subject::Node("a.example.com".into()));
        check("7f000001.addr", &Subject::Address("127.0.0.1".parse().unwrap()));
        check("00000000000000000000000000000001.addr.dc1.dc", &Subject::Address("::1".parse().unwrap()));
    }

    #[test]
    fn what_others_lie_below_is_there() {
        for name in
            ["service", "node", "addr", "service.dc1", "dc1", "dc", "dc1.dc", "ns.dc1.dc", "default.ap", "ap"]
        {
            check(name, &Subject::Branch { namespace: "default" });
        }
        check("team.ns", &Subject::Branch { namespace: "team" });
        check("service.team.ns.dc1.dc", &Subject::Branch { namespace: "team" });
    }

    #[test]
    fn the_rest_is_nothing() {
        for name in [
            "web",
            "web.service.dc2",
            "web.service.dc2.dc",
            "web.service.team.ns.other.ap",
            "web.service.team.ns.team.ns",
            "web.service.a.b.c",
            "a.node.team.ns",
            "7f00.addr",
            "x.7f000001.addr",
            "best.query.team.ns",
            "best.query.dc2",
            "web.connect",
            "web.ingress",
            "web.virtual",
        ] {
            let all = labels(name);
            assert!(matches!(subject(&all, "dc1"), Subject::Nothing(_)), "{name}");
        }
    }
}
