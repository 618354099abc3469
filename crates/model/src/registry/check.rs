//! Checks and the health they report.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::units::Span;

/// How well something is. Ordered from best to worst, so that the worst of several is their maximum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Works.
    Passing,
    /// Works, with something to look at; still gets requests.
    Warning,
    /// Does not work; gets no requests. What a check is until it first reports.
    #[default]
    Critical,
}

impl Health {
    /// The name as APIs and tables show it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passing => "passing",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// A check of a node or of one instance, with what it last reported.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// The namespace it belongs to.
    pub namespace: String,
    /// The node it is on.
    pub node: String,
    /// Unique on its node.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// The instance it is about; the node itself when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The service of that instance; empty for a node's check.
    #[serde(default)]
    pub service: String,
    /// What it reports.
    pub health: Health,
    /// What it last said, bounded.
    #[serde(default)]
    pub output: String,
    /// Remarks for people.
    #[serde(default)]
    pub notes: String,
    /// How it is carried out; absent when somebody else reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<CheckDefinition>,
    /// Who carries it out.
    #[serde(default, skip_serializing_if = "Runner::is_server")]
    pub runner: Runner,
}

/// Who carries out a check that has a definition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Runner {
    /// The servers: they look, or wait to be told.
    #[default]
    Server,
    /// The agent of its node, which tells the servers what came of it.
    Agent,
    /// The servers, who wait for a node's agent: while it is silent, all that it carries out is unknown.
    Presence,
}

impl Runner {
    /// Whether the servers carry it out, as they do unless told otherwise.
    pub const fn is_server(&self) -> bool {
        matches!(self, Self::Server)
    }
}

/// How a check is carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckDefinition {
    /// What is done.
    pub kind: CheckKind,
    /// Time between two runs; for `Ttl`, the time to live.
    pub interval: Span,
    /// How long one run may take.
    pub timeout: Span,
    /// Successes in a row before it passes again; 0 and 1 mean at once.
    #[serde(default)]
    pub successes_before_passing: u32,
    /// Failures in a row before it is critical; 0 and 1 mean at once.
    #[serde(default)]
    pub failures_before_critical: u32,
    /// Failures in a row before it warns; 0 means never before critical.
    #[serde(default)]
    pub failures_before_warning: u32,
    /// How long it may be critical before its instance is deregistered; never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deregister_after: Option<Span>,
}

/// What a check does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    /// Waits to be told; critical when nothing is heard for an interval.
    Ttl,
    /// Sends a request; 2xx passes, 429 warns, everything else is critical.
    Http {
        /// The full URL.
        url: String,
        /// The method, `GET` by default.
        method: String,
        /// Header fields to send.
        #[serde(default)]
        headers: BTreeMap<String, Vec<String>>,
        /// Body to send.
        #[serde(default)]
        body: String,
    },
    /// Opens a connection.
    Tcp {
        /// `HOST:PORT`.
        address: String,
    },
    /// Sends an empty datagram; critical when the target refuses it (ICMP's port unreachable), while silence passes.
    Udp {
        /// `HOST:PORT`.
        address: String,
    },
    /// Calls `grpc.health.v1.Health/Check`; SERVING passes, everything else is critical.
    Grpc {
        /// `HOST:PORT`.
        address: String,
        /// The gRPC service that is asked about; empty for the server as a whole.
        #[serde(default)]
        service: String,
    },
    /// Opens an HTTP/2 connection in the clear and pings on it; an acknowledged ping passes.
    H2Ping {
        /// `HOST:PORT`.
        address: String,
    },
    /// Is as well as another instance or node is: the worst of its checks.
    Alias {
        /// The node, or the one that the instance is on; this check's own node when empty.
        #[serde(default)]
        node: String,
        /// The instance, by its id; the node itself when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instance: Option<String>,
    },
    /// Runs a program: exit status 0 passes, 1 warns, everything else is critical. Agents alone do that, and only if
    /// they were told that they may.
    Script {
        /// The program and its arguments.
        args: Vec<String>,
    },
}

impl CheckKind {
    /// The name as APIs and messages show it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Ttl => "ttl",
            Self::Http { .. } => "http",
            Self::Tcp { .. } => "tcp",
            Self::Udp { .. } => "udp",
            Self::Grpc { .. } => "grpc",
            Self::H2Ping { .. } => "h2ping",
            Self::Alias { .. } => "alias",
            Self::Script { .. } => "script",
        }
    }
}
