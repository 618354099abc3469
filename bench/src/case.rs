//! The cases: what is done to each subject, in turn.

use crate::choice::Measurable;
use crate::setup::{Back, Front, POLICIES_PATH, Setup};

/// What answers behind the subjects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upstream {
    /// nginx, with a small answer that leaves in one packet.
    Small,
    /// The same, and it shows which field of the request it has seen.
    Fields,
    /// nginx, with a small answer whose head and body leave in two packets.
    Split,
    /// nginx, with an answer of 64 KiB.
    Large,
    /// gRPC over HTTP/2, unary.
    Grpc,
    /// Bytes or WebSocket frames, echoed or poured out.
    Streams,
}

/// What the load is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// Requests over kept-alive connections, each as soon as the last is answered.
    Wrk,
    /// The same over HTTP/2, many at once on each connection.
    H2load,
    /// A fixed number of requests a second, evenly spaced.
    Rate {
        /// Requests a second, over all connections.
        per_second: u32,
    },
    /// Small messages, each sent as soon as the last has come back.
    Echo,
    /// As many bytes as will flow, from the upstream to the client.
    Bulk,
    /// Connections with a full handshake, one request each.
    Handshakes,
    /// Connections that have had one answer and wait.
    Idle,
    /// None: a sidecar that has just come up under a control plane.
    Rest,
}

/// What one figure means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Request,
    Message,
    Mebibyte,
    Handshake,
    IdleConnection,
    Process,
}

impl Unit {
    /// Of the figures.
    pub(crate) fn figure(self) -> &'static str {
        match self {
            Self::Request => "us CPU/request",
            Self::Message => "us CPU/message",
            Self::Mebibyte => "us CPU/MiB",
            Self::Handshake => "us CPU/handshake",
            Self::IdleConnection => "KiB/connection",
            Self::Process => "MiB",
        }
    }

    /// Of what is counted.
    pub(crate) fn counted(self) -> &'static str {
        match self {
            Self::Request => "requests",
            Self::Message => "messages",
            Self::Mebibyte => "MiB",
            Self::Handshake => "handshakes",
            Self::IdleConnection => "connections",
            Self::Process => "processes",
        }
    }
}

/// One case.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// In a line, for the page.
    pub(crate) what: &'static str,
    pub(crate) setup: Setup,
    pub(crate) upstream: Upstream,
    pub(crate) load: Load,
    pub(crate) unit: Unit,
    /// Concurrent connections.
    pub(crate) connections: usize,
    /// What requests ask for.
    pub(crate) path: &'static str,
    /// Who is measured.
    pub(crate) subjects: &'static [&'static str],
    /// The largest ratio, of those shown beside a subject, that the design aims at.
    pub(crate) targets: &'static [(&'static str, f64)],
    /// The largest figure of our own that it aims at, whatever others need.
    pub(crate) most: Option<f64>,
}

impl Measurable for Case {
    fn name(&self) -> &'static str {
        self.name
    }

    fn what(&self) -> &'static str {
        self.what
    }

    fn subjects(&self) -> &'static [&'static str] {
        self.subjects
    }
}

const ALL: &[&str] = &["weir", "haproxy", "nginx", "envoy", "traefik", "caddy", "floor"];
/// Where copying bytes would not do the same work.
const SPEAKING: &[&str] = &["weir", "haproxy", "nginx", "envoy", "traefik", "caddy"];

const BASE: Case = Case {
    name: "http1",
    what: "HTTP/1.1 keep-alive, 128-byte answers, 64 connections",
    setup: Setup::PLAIN,
    upstream: Upstream::Small,
    load: Load::Wrk,
    unit: Unit::Request,
    connections: 64,
    path: "/",
    subjects: ALL,
    targets: &[("floor", 1.10), ("haproxy", 0.87), ("nginx", 0.82), ("envoy", 0.45)],
    most: None,
};

const STREAM: Case = Case {
    upstream: Upstream::Streams,
    path: "/echo",
    targets: &[("haproxy", 1.0), ("nginx", 1.0), ("envoy", 1.0)],
    ..BASE
};

/// All cases, in the order in which they run.
pub(crate) const CASES: &[Case] = &[
    BASE,
    Case {
        name: "http1-policies",
        what: "the same through one of eight rules, with header filters both ways, time limits, retries, a rate limit and a breaker",
        setup: Setup { policies: true, ..Setup::PLAIN },
        upstream: Upstream::Fields,
        path: POLICIES_PATH,
        targets: &[("floor", 1.17), ("haproxy", 1.0)],
        ..BASE
    },
    Case {
        name: "http1-split",
        what: "as `http1`, but each answer leaves the upstream in two packets",
        upstream: Upstream::Split,
        targets: &[("haproxy", 1.0), ("nginx", 1.0)],
        ..BASE
    },
    Case {
        name: "http1-64k",
        what: "as `http1`, with answers of 64 KiB",
        upstream: Upstream::Large,
        targets: &[("floor", 1.08), ("haproxy", 0.70), ("nginx", 0.80)],
        ..BASE
    },
    Case {
        name: "light",
        what: "4,000 requests a second, evenly spaced, on 64 connections",
        load: Load::Rate { per_second: 4000 },
        targets: &[("haproxy", 0.75)],
        ..BASE
    },
    Case {
        name: "tls13",
        what: "as `http1`, over TLS 1.3 (ECDSA P-256 certificate, AES-GCM)",
        setup: Setup { front: Front::Tls, ..Setup::PLAIN },
        subjects: SPEAKING,
        targets: &[("haproxy", 0.75), ("nginx", 0.75)],
        ..BASE
    },
    Case {
        name: "handshakes",
        what: "a new connection with a full TLS 1.3 handshake (X25519, ECDSA P-256) for each request",
        setup: Setup { front: Front::Tls, ..Setup::PLAIN },
        load: Load::Handshakes,
        unit: Unit::Handshake,
        connections: 8,
        subjects: SPEAKING,
        targets: &[("haproxy", 1.0), ("nginx", 1.0)],
        ..BASE
    },
    Case {
        name: "h2-h1",
        what: "HTTP/2 in, HTTP/1.1 out: 8 connections with 32 requests at once on each",
        setup: Setup { front: Front::Http2, ..Setup::PLAIN },
        load: Load::H2load,
        connections: 8,
        subjects: SPEAKING,
        targets: &[("haproxy", 0.87)],
        ..BASE
    },
    Case {
        name: "grpc",
        what: "unary gRPC, HTTP/2 in and out: 8 connections with 32 calls at once on each, 100-byte messages",
        setup: Setup { front: Front::Http2, back: Back::Grpc, ..Setup::PLAIN },
        upstream: Upstream::Grpc,
        load: Load::H2load,
        connections: 8,
        path: "/bench.Echo/Say",
        subjects: SPEAKING,
        targets: &[("haproxy", 1.0), ("nginx", 1.0), ("envoy", 1.0)],
        ..BASE
    },
    Case {
        name: "websocket",
        what: "WebSocket messages of 32 bytes, echoed, on 64 connections",
        setup: Setup { websocket: true, ..Setup::PLAIN },
        load: Load::Echo,
        unit: Unit::Message,
        ..STREAM
    },
    Case {
        name: "websocket-bulk",
        what: "WebSocket frames of 16 KiB, as fast as they will flow to 4 clients",
        setup: Setup { websocket: true, ..Setup::PLAIN },
        load: Load::Bulk,
        unit: Unit::Mebibyte,
        connections: 4,
        path: "/bulk",
        ..STREAM
    },
    Case {
        name: "tcp",
        what: "TCP: messages of 64 bytes, echoed, on 64 connections",
        setup: Setup { front: Front::Tcp, back: Back::Tcp, ..Setup::PLAIN },
        load: Load::Echo,
        unit: Unit::Message,
        ..STREAM
    },
    Case {
        name: "tcp-bulk",
        what: "TCP: bytes as fast as they will flow to 4 clients",
        setup: Setup { front: Front::Tcp, back: Back::Tcp, ..Setup::PLAIN },
        load: Load::Bulk,
        unit: Unit::Mebibyte,
        connections: 4,
        path: "/bulk",
        ..STREAM
    },
    Case {
        name: "workers",
        what: "as `http1` with one worker and with two, and nobody bound to a core",
        subjects: &["weir", "weir-2", "haproxy", "haproxy-2", "nginx", "nginx-2"],
        targets: &[("weir-2", 1.1)],
        ..BASE
    },
    Case {
        name: "idle",
        what: "resident memory that each of 6,000 idle keep-alive connections adds",
        load: Load::Idle,
        unit: Unit::IdleConnection,
        connections: 6000,
        subjects: SPEAKING,
        targets: &[("haproxy", 1.0)],
        most: Some(2.0),
        ..BASE
    },
    Case {
        name: "idle-tls",
        what: "the same of 2,000 idle connections over TLS 1.3",
        setup: Setup { front: Front::Tls, ..Setup::PLAIN },
        load: Load::Idle,
        unit: Unit::IdleConnection,
        connections: 2000,
        subjects: SPEAKING,
        targets: &[("haproxy", 1.0)],
        most: Some(8.0),
        ..BASE
    },
    Case {
        name: "sidecar",
        what: "resident memory of a sidecar with one worker, under a control plane, before its first request",
        load: Load::Rest,
        unit: Unit::Process,
        subjects: &["weir"],
        targets: &[],
        most: Some(12.0),
        ..BASE
    },
];

/// The one that others are compared with.
pub(crate) const OURS: &str = "weir";
/// What the name of a subject with two workers ends with.
pub(crate) const TWO_WORKERS: &str = "-2";

/// A ratio of two subjects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compared<'n> {
    pub(crate) above: &'n str,
    pub(crate) below: &'n str,
}

impl Case {
    /// Whether subject and load each have a core of their own.
    pub(crate) fn is_pinned(&self) -> bool {
        self.name != "workers"
    }

    /// Whom a subject's figures are divided into a ratio with, and whether its own stand above the line.
    pub(crate) fn compared<'n>(&self, name: &'n str) -> Option<Compared<'n>> {
        match name.strip_suffix(TWO_WORKERS) {
            Some(one) => Some(Compared { above: name, below: one }),
            None if name == OURS || !self.is_pinned() => None,
            None => Some(Compared { above: OURS, below: name }),
        }
    }

    /// What the design aims at beside a subject, and whether that is met; none where it aims at nothing.
    pub(crate) fn verdict(&self, name: &str, ratio: Option<f64>, figure: f64) -> Option<(String, bool)> {
        let beside = self.targets.iter().find(|(known, _)| *known == name);
        match (beside, ratio, self.most.filter(|_| name == OURS)) {
            (Some((_, most)), Some(ratio), _) => Some((format!("{most:.2}"), ratio <= *most)),
            (_, _, Some(most)) => Some((format!("{most:.0} {}", self.unit.figure()), figure <= most)),
            _ => None,
        }
    }

    /// The case of a name.
    pub(crate) fn find(name: &str) -> Option<Self> {
        CASES.iter().find(|case| case.name == name).copied()
    }
}
