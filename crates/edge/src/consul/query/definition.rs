//! What a prepared query is: read from a body, stored as it is shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_control::records::RecordEntry;
use weir_model::units::Span;
use weir_model::{DEFAULT_NAMESPACE, Revision, names};

use super::template;
use crate::consul::decode::{DecodeError, Fields};
use crate::consul::refusal::Refusal;

/// The only kind of template.
pub(super) const NAME_PREFIX_MATCH: &str = "name_prefix_match";
/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 255;

/// A prepared query without what it is found by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Definition {
    /// Its name; the beginning of names, if it is a template.
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) template: Template,
    pub(super) service: Service,
    #[serde(default, rename = "DNS")]
    pub(super) dns: Dns,
}

/// How a template makes queries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Template {
    /// [`NAME_PREFIX_MATCH`], or empty if it is no template.
    #[serde(rename = "Type")]
    pub(super) kind: String,
    pub(super) regexp: String,
    pub(super) remove_empty_tags: bool,
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Service {
    pub(super) service: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) namespace: String,
    #[serde(default)]
    pub(super) failover: Failover,
    #[serde(default)]
    pub(super) only_passing: bool,
    #[serde(default, rename = "IgnoreCheckIDs")]
    pub(super) ignore_check_ids: Vec<String>,
    #[serde(default)]
    pub(super) near: String,
    #[serde(default)]
    pub(super) tags: Vec<String>,
    #[serde(default)]
    pub(super) node_meta: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) service_meta: BTreeMap<String, String>,
}

impl Service {
    pub(super) fn namespace(&self) -> &str {
        if self.namespace.is_empty() { DEFAULT_NAMESPACE } else { &self.namespace }
    }
}

/// Where else to look; kept and shown, since there is no other datacenter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Failover {
    pub(super) nearest_n: u64,
    pub(super) datacenters: Vec<String>,
}

/// How DNS answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Dns {
    /// As it was written; empty for the server's own.
    #[serde(rename = "TTL")]
    pub(super) ttl: String,
}

impl Definition {
    /// Reads a body; the session that it ends with besides.
    pub(super) fn read(fields: Fields<'_>) -> Result<(Self, Option<String>), Refusal> {
        let name = fields.text("Name")?;
        let session = Some(fields.text("Session")?).filter(|session| !session.is_empty());
        let template = match fields.map("Template")? {
            None => Template::default(),
            Some(map) => template_of(Fields::at(map, "Template"))?,
        };
        check_name(&name)?;
        if name.is_empty() && session.is_none() && template.kind.is_empty() {
            return Err(Refusal::bad("Must be bound to a session, have a name, or be a template"));
        }
        let Some(map) = fields.map("Service")? else {
            return Err(no_service(fields));
        };
        let service = service_of(Fields::at(map, "Service"))?;
        let dns = match fields.map("DNS")? {
            None => Dns::default(),
            Some(map) => dns_of(Fields::at(map, "DNS"))?,
        };
        let definition = Self { name, template, service, dns };
        if definition.is_template() {
            template::check(&definition)?;
        } else {
            definition.check_service()?;
        }
        Ok((definition, session))
    }

    /// A stored one; `None`, with a complaint, if it cannot be read.
    pub(super) fn stored(entry: &RecordEntry) -> Option<Self> {
        match serde_json::from_value(entry.value.content.clone()) {
            Ok(definition) => Some(definition),
            Err(error) => {
                tracing::error!(query = entry.value.name, %error, "stored prepared query cannot be read and is ignored");
                None
            }
        }
    }

    pub(super) fn is_template(&self) -> bool {
        !self.template.kind.is_empty()
    }

    /// How long DNS answers may be kept, if it says so.
    pub(super) fn ttl(&self) -> Option<std::time::Duration> {
        self.dns.ttl.parse::<Span>().ok().map(|span| span.0)
    }

    fn check_service(&self) -> Result<(), Refusal> {
        names::registered(&self.service.service)
            .map_err(|bad| Refusal::bad(format!("Service.Service: {bad}; expected {}", bad.expected)))
    }
}

fn check_name(name: &str) -> Result<(), Refusal> {
    if name.len() > NAME_BYTES_MAX || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Refusal::bad(format!(
            "Name: expected at most {NAME_BYTES_MAX} bytes of text without blanks and control characters"
        )));
    }
    if is_id(name) {
        return Err(Refusal::bad(format!(
            "Name: '{name}' has the form of a query's ID; expected another name"
        )));
    }
    Ok(())
}

/// Whether a text has the form of a UUID.
fn is_id(text: &str) -> bool {
    let dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| if dash(at) { b == b'-' } else { b.is_ascii_hexdigit() })
}

fn template_of(fields: Fields<'_>) -> Result<Template, DecodeError> {
    let kind = fields.text("Type")?;
    if !kind.is_empty() && kind != NAME_PREFIX_MATCH {
        return fields
            .wrong("Type", format_args!("Bad Template.Type '{kind}', expected {NAME_PREFIX_MATCH}"));
    }
    Ok(Template { kind, regexp: fields.text("Regexp")?, remove_empty_tags: fields.flag("RemoveEmptyTags")? })
}

/// There is no `Service`. Fields that are not known count for nothing, as in Consul: one that is nearly that is named.
fn no_service(fields: Fields<'_>) -> Refusal {
    let said = "Must provide a Service name to query";
    match fields.mistaken_for("Service").filter(|_| !fields.has("Service")) {
        Some(near) => {
            Refusal::bad(format!("{said}: {} is no field; did you mean Service?", fields.path_of(near)))
        }
        None => Refusal::bad(said),
    }
}

fn service_of(fields: Fields<'_>) -> Result<Service, Refusal> {
    let service = fields.text("Service")?;
    if service.is_empty() {
        return Err(no_service(fields));
    }
    for (name, instead) in [
        ("Connect", "sidecars are found by the service itself"),
        ("Peer", "there are no peers"),
        ("SamenessGroup", "there are no sameness groups"),
    ] {
        if fields.says_something(name) {
            fields.wrong::<()>(name, format_args!("not supported, {instead}"))?;
        }
    }
    let namespace = fields.text("Namespace")?;
    if !namespace.is_empty() {
        names::label(&namespace)
            .map_err(|bad| Refusal::bad(format!("Service.Namespace: {bad}; expected {}", bad.expected)))?;
    }
    Ok(Service {
        service,
        namespace,
        failover: failover_of(fields)?,
        only_passing: fields.flag("OnlyPassing")?,
        ignore_check_ids: fields.texts("IgnoreCheckIDs")?,
        near: fields.text("Near")?,
        tags: fields.texts("Tags")?,
        node_meta: fields.text_map("NodeMeta")?,
        service_meta: fields.text_map("ServiceMeta")?,
    })
}

fn failover_of(fields: Fields<'_>) -> Result<Failover, DecodeError> {
    let Some(map) = fields.map("Failover")? else { return Ok(Failover::default()) };
    let failover = Fields::at(map, "Service.Failover");
    if failover.says_something("Targets") {
        return failover.wrong("Targets", "not supported, there are no peers");
    }
    Ok(Failover {
        nearest_n: failover.whole("NearestN", u64::from(u16::MAX))?.unwrap_or(0),
        datacenters: failover.texts("Datacenters")?,
    })
}

fn dns_of(fields: Fields<'_>) -> Result<Dns, Refusal> {
    let ttl = fields.text("TTL")?;
    if !ttl.is_empty() {
        ttl.parse::<Span>().map_err(|error| Refusal::bad(format!("Bad DNS TTL '{ttl}': {error}")))?;
    }
    Ok(Dns { ttl })
}

/// A prepared query as Consul shows it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct QueryJson<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    name: &'a str,
    session: &'a str,
    /// Tokens are not kept.
    token: &'static str,
    template: &'a Template,
    service: ServiceJson<'a>,
    #[serde(rename = "DNS")]
    dns: &'a Dns,
    create_index: Revision,
    modify_index: Revision,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ServiceJson<'a> {
    #[serde(flatten)]
    service: &'a Service,
    sameness_group: &'static str,
    connect: bool,
    peer: &'static str,
}

impl<'a> QueryJson<'a> {
    pub(super) fn of(entry: &'a RecordEntry, definition: &'a Definition) -> Self {
        Self {
            id: &entry.value.name,
            name: &definition.name,
            session: entry.value.session.as_deref().unwrap_or_default(),
            token: "",
            template: &definition.template,
            service: ServiceJson {
                service: &definition.service,
                sameness_group: "",
                connect: false,
                peer: "",
            },
            dns: &definition.dns,
            create_index: entry.create_revision,
            modify_index: entry.modify_revision,
        }
    }
}
