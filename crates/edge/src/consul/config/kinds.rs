//! The kinds of config entries, with their fields.

use http::StatusCode;
use serde_json::{Map, Value};

use super::judge;
use super::shape::Field;
use super::shape::Shape::{
    Any, Flag, List, MapOf, Number, Object, Span, Text, TextMap, Texts, Whole, Wholes,
};
use crate::consul::refusal::Refusal;

/// The defaults of all proxies.
pub(super) const PROXY_DEFAULTS: &str = "proxy-defaults";
/// What a service speaks, and how it is called.
const SERVICE_DEFAULTS_KIND: &str = "service-defaults";
/// Which instances of a service there are, and which are called.
pub(super) const SERVICE_RESOLVER: &str = "service-resolver";
/// Who may call a service.
pub(super) const SERVICE_INTENTIONS: &str = "service-intentions";

/// A kind of entries.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) fields: &'static [Field],
    /// Says what is wrong with an entry whose fields are of the right form.
    pub(super) judge: fn(&str, &Map<String, Value>) -> Result<(), Refusal>,
}

impl Kind {
    /// Puts what Consul takes in any case into the one that it keeps.
    pub(super) fn normalize(&self, content: &mut Map<String, Value>) {
        if self.name == SERVICE_DEFAULTS_KIND
            && let Some(Value::String(protocol)) = content.get_mut("Protocol")
        {
            protocol.make_ascii_lowercase();
        }
    }
}

static KINDS: [Kind; 6] = [
    Kind { name: SERVICE_DEFAULTS_KIND, fields: SERVICE_DEFAULTS, judge: judge::defaults },
    Kind { name: SERVICE_RESOLVER, fields: RESOLVER, judge: judge::resolver },
    Kind { name: "service-splitter", fields: SPLITTER, judge: judge::splitter },
    Kind { name: "service-router", fields: ROUTER, judge: judge::router },
    Kind { name: PROXY_DEFAULTS, fields: PROXIES, judge: judge::proxies },
    Kind { name: SERVICE_INTENTIONS, fields: INTENTIONS, judge: judge::intentions },
];

/// Kinds that Consul has and that are not kept here.
const ELSEWHERE: [&str; 13] = [
    "ingress-gateway",
    "terminating-gateway",
    "mesh",
    "exported-services",
    "sameness-group",
    "api-gateway",
    "bound-api-gateway",
    "file-system-certificate",
    "inline-certificate",
    "http-route",
    "tcp-route",
    "jwt-provider",
    "control-plane-request-limit",
];

/// A kind by its name.
pub(super) fn named(name: &str) -> Result<&'static Kind, Refusal> {
    if let Some(kind) = KINDS.iter().find(|kind| kind.name == name) {
        return Ok(kind);
    }
    if ELSEWHERE.contains(&name) {
        let message = format!("config entries of kind {name} are not supported");
        return Err(Refusal { status: StatusCode::NOT_IMPLEMENTED, message });
    }
    let known: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
    Err(Refusal::bad(format!("invalid config entry kind: {name:?}, expected one of {}", known.join(", "))))
}

const META: Field = Field("Meta", TextMap);
const MODE: &[Field] = &[Field("Mode", Text)];
const EXPOSE: &[Field] = &[
    Field("Checks", Flag),
    Field(
        "Paths",
        List(&[
            Field("ListenerPort", Whole),
            Field("Path", Text),
            Field("LocalPathPort", Whole),
            Field("Protocol", Text),
            Field("ParsedFromCheck", Flag),
        ]),
    ),
];
const TRANSPARENT: &[Field] = &[Field("OutboundListenerPort", Whole), Field("DialedDirectly", Flag)];
const EXTENSIONS: &[Field] = &[
    Field("Name", Text),
    Field("Required", Flag),
    Field("Arguments", Any),
    Field("ConsulVersion", Text),
    Field("EnvoyVersion", Text),
];
const HEADERS: &[Field] = &[Field("Add", TextMap), Field("Set", TextMap), Field("Remove", Texts)];
const UPSTREAM: &[Field] = &[
    Field("Name", Text),
    Field("Namespace", Text),
    Field("Partition", Text),
    Field("Peer", Text),
    Field("EnvoyListenerJSON", Text),
    Field("EnvoyClusterJSON", Text),
    Field("Protocol", Text),
    Field("ConnectTimeoutMs", Whole),
    Field(
        "Limits",
        Object(&[
            Field("MaxConnections", Whole),
            Field("MaxPendingRequests", Whole),
            Field("MaxConcurrentRequests", Whole),
        ]),
    ),
    Field(
        "PassiveHealthCheck",
        Object(&[
            Field("Interval", Span),
            Field("MaxFailures", Whole),
            Field("EnforcingConsecutive5xx", Whole),
            Field("MaxEjectionPercent", Whole),
            Field("BaseEjectionTime", Span),
        ]),
    ),
    Field("MeshGateway", Object(MODE)),
    Field("BalanceOutboundConnections", Text),
];

const SERVICE_DEFAULTS: &[Field] = &[
    Field("Protocol", Text),
    Field("Mode", Text),
    Field("TransparentProxy", Object(TRANSPARENT)),
    Field("MutualTLSMode", Text),
    Field("MeshGateway", Object(MODE)),
    Field("Expose", Object(EXPOSE)),
    Field("ExternalSNI", Text),
    Field(
        "UpstreamConfig",
        Object(&[Field("Overrides", List(UPSTREAM)), Field("Defaults", Object(UPSTREAM))]),
    ),
    Field("Destination", Object(&[Field("Addresses", Texts), Field("Port", Whole)])),
    Field("MaxInboundConnections", Whole),
    Field("LocalConnectTimeoutMs", Whole),
    Field("LocalRequestTimeoutMs", Whole),
    Field("BalanceInboundConnections", Text),
    Field(
        "RateLimits",
        Object(&[Field(
            "InstanceLevel",
            Object(&[
                Field("RequestsPerSecond", Whole),
                Field("RequestsMaxBurst", Whole),
                Field(
                    "Routes",
                    List(&[
                        Field("PathExact", Text),
                        Field("PathPrefix", Text),
                        Field("PathRegex", Text),
                        Field("RequestsPerSecond", Whole),
                        Field("RequestsMaxBurst", Whole),
                    ]),
                ),
            ]),
        )]),
    ),
    Field("EnvoyExtensions", List(EXTENSIONS)),
    META,
];

const FAILOVER: &[Field] = &[
    Field("Service", Text),
    Field("ServiceSubset", Text),
    Field("Namespace", Text),
    Field("Datacenters", Texts),
    Field("SamenessGroup", Text),
    Field("Policy", Object(&[Field("Mode", Text), Field("Regions", Texts)])),
    Field(
        "Targets",
        List(&[
            Field("Service", Text),
            Field("ServiceSubset", Text),
            Field("Partition", Text),
            Field("Namespace", Text),
            Field("Datacenter", Text),
            Field("Peer", Text),
        ]),
    ),
];
const RESOLVER: &[Field] = &[
    Field("DefaultSubset", Text),
    Field("Subsets", MapOf(&[Field("Filter", Text), Field("OnlyPassing", Flag)])),
    Field(
        "Redirect",
        Object(&[
            Field("Service", Text),
            Field("ServiceSubset", Text),
            Field("Namespace", Text),
            Field("Partition", Text),
            Field("Datacenter", Text),
            Field("Peer", Text),
            Field("SamenessGroup", Text),
        ]),
    ),
    Field("Failover", MapOf(FAILOVER)),
    Field("ConnectTimeout", Span),
    Field("RequestTimeout", Span),
    Field("PrioritizeByLocality", Object(MODE)),
    Field(
        "LoadBalancer",
        Object(&[
            Field("Policy", Text),
            Field(
                "RingHashConfig",
                Object(&[Field("MinimumRingSize", Whole), Field("MaximumRingSize", Whole)]),
            ),
            Field("LeastRequestConfig", Object(&[Field("ChoiceCount", Whole)])),
            Field(
                "HashPolicies",
                List(&[
                    Field("Field", Text),
                    Field("FieldValue", Text),
                    Field(
                        "CookieConfig",
                        Object(&[Field("Session", Flag), Field("TTL", Span), Field("Path", Text)]),
                    ),
                    Field("SourceIP", Flag),
                    Field("Terminal", Flag),
                ]),
            ),
        ]),
    ),
    META,
];

const SPLITTER: &[Field] = &[
    Field(
        "Splits",
        List(&[
            Field("Weight", Number),
            Field("Service", Text),
            Field("ServiceSubset", Text),
            Field("Namespace", Text),
            Field("Partition", Text),
            Field("RequestHeaders", Object(HEADERS)),
            Field("ResponseHeaders", Object(HEADERS)),
        ]),
    ),
    META,
];

const MATCH_HEADER: &[Field] = &[
    Field("Name", Text),
    Field("Present", Flag),
    Field("Exact", Text),
    Field("Prefix", Text),
    Field("Suffix", Text),
    Field("Contains", Text),
    Field("Regex", Text),
    Field("IgnoreCase", Flag),
    Field("Invert", Flag),
];
const ROUTER: &[Field] = &[
    Field(
        "Routes",
        List(&[
            Field(
                "Match",
                Object(&[Field(
                    "HTTP",
                    Object(&[
                        Field("PathExact", Text),
                        Field("PathPrefix", Text),
                        Field("PathRegex", Text),
                        Field("CaseInsensitive", Flag),
                        Field("Header", List(MATCH_HEADER)),
                        Field(
                            "QueryParam",
                            List(&[
                                Field("Name", Text),
                                Field("Present", Flag),
                                Field("Exact", Text),
                                Field("Regex", Text),
                            ]),
                        ),
                        Field("Methods", Texts),
                    ]),
                )]),
            ),
            Field(
                "Destination",
                Object(&[
                    Field("Service", Text),
                    Field("ServiceSubset", Text),
                    Field("Namespace", Text),
                    Field("Partition", Text),
                    Field("PrefixRewrite", Text),
                    Field("RequestTimeout", Span),
                    Field("IdleTimeout", Span),
                    Field("NumRetries", Whole),
                    Field("RetryOnConnectFailure", Flag),
                    Field("RetryOn", Texts),
                    Field("RetryOnStatusCodes", Wholes),
                    Field("RequestHeaders", Object(HEADERS)),
                    Field("ResponseHeaders", Object(HEADERS)),
                ]),
            ),
        ]),
    ),
    META,
];

const PROXIES: &[Field] = &[
    Field("Config", Any),
    Field("Mode", Text),
    Field("TransparentProxy", Object(TRANSPARENT)),
    Field("MutualTLSMode", Text),
    Field("MeshGateway", Object(MODE)),
    Field("Expose", Object(EXPOSE)),
    Field(
        "AccessLogs",
        Object(&[
            Field("Enabled", Flag),
            Field("DisableListenerLogs", Flag),
            Field("Type", Text),
            Field("Path", Text),
            Field("JSONFormat", Text),
            Field("TextFormat", Text),
        ]),
    ),
    Field("EnvoyExtensions", List(EXTENSIONS)),
    Field("FailoverPolicy", Object(&[Field("Mode", Text), Field("Regions", Texts)])),
    Field("PrioritizeByLocality", Object(MODE)),
    META,
];

const INTENTIONS: &[Field] = &[
    Field(
        "Sources",
        List(&[
            Field("Name", Text),
            Field("Namespace", Text),
            Field("Partition", Text),
            Field("Peer", Text),
            Field("SamenessGroup", Text),
            Field("Action", Text),
            Field(
                "Permissions",
                List(&[
                    Field("Action", Text),
                    Field(
                        "HTTP",
                        Object(&[
                            Field("PathExact", Text),
                            Field("PathPrefix", Text),
                            Field("PathRegex", Text),
                            Field("Header", List(MATCH_HEADER)),
                            Field("Methods", Texts),
                        ]),
                    ),
                    Field("JWT", Any),
                ]),
            ),
            Field("Precedence", Whole),
            Field("Type", Text),
            Field("Description", Text),
            Field("LegacyID", Text),
            Field("LegacyMeta", TextMap),
            Field("LegacyCreateTime", Text),
            Field("LegacyUpdateTime", Text),
        ]),
    ),
    Field("JWT", Any),
    META,
];
