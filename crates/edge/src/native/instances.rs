//! Registration of instances with their checks.

use std::sync::Arc;
use std::time::Duration;

use weir_api::native::{CheckInput, Deleted, PositionAnswer, RegisterInstance};
use weir_control::catalog::InstanceRef;
use weir_model::document::decode_as;
use weir_model::registry::{Check, CheckDefinition, CheckKind, Health, Instance, Runner};
use weir_model::units::Span;

use super::refusal::{Refusal, problem};
use super::{NativeApi, known_parameters, ok, text};
use crate::http::{Request, Response};

/// Time between two runs of a check, and how long one may take, when nothing is said.
const CHECK_INTERVAL: Span = Span(Duration::from_secs(10));

impl NativeApi {
    /// `PUT /instances/ID`: registers an instance, replacing what was registered under the same identity.
    pub(super) async fn register(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &["namespace", "node"])?;
        let name = self.instance_ref(&request)?;
        let input: RegisterInstance = decode_as("body", text(&request)?)
            .map_err(|errors| Refusal::documents(errors.into_iter().map(problem).collect()))?;
        let checks = input
            .checks
            .iter()
            .enumerate()
            .map(|(index, check)| to_check(&name, &input, index, check))
            .collect::<Result<Vec<_>, _>>()?;
        let instance = Instance {
            namespace: name.namespace.clone(),
            node: name.node.clone(),
            id: name.id.clone(),
            service: input.service,
            address: input.address,
            port: input.port,
            inbound: input.inbound,
            tags: input.tags,
            metadata: input.metadata,
            weights: input.weights,
            ..Instance::default()
        };
        let done = self.control.register_instance(instance, checks, true).await?;
        Ok(ok(&PositionAnswer { position: done.position }))
    }

    /// `DELETE /instances/ID`.
    pub(super) async fn deregister(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        known_parameters(&request, &["namespace", "node"])?;
        let name = self.instance_ref(&request)?;
        let done = self.control.deregister_instance(&name).await?;
        Ok(ok(&Deleted {
            position: done.position,
            change_set: None,
            deleted: vec![format!("Instance/{}", name.id)],
        }))
    }
}

/// The domain's form of a check. Critical until it first reports, whoever carries it out.
fn to_check(
    instance: &InstanceRef,
    input: &RegisterInstance,
    index: usize,
    check: &CheckInput,
) -> Result<Check, Refusal> {
    let at = |field: &str| format!("checks[{index}]{field}");
    let interval = check.interval.unwrap_or(CHECK_INTERVAL);
    let (kind, interval, what) = match (&check.http, &check.tcp, check.ttl) {
        (Some(url), None, None) => {
            let (url, method) = (url.clone(), "GET".to_owned());
            let (headers, body) = Default::default();
            (CheckKind::Http { url, method, headers, body }, interval, "http")
        }
        (None, Some(address), None) => (CheckKind::Tcp { address: address.clone() }, interval, "tcp"),
        (None, None, Some(ttl)) => (CheckKind::Ttl, ttl, "ttl"),
        _ => {
            return Err(Refusal::bad(
                &at(""),
                "it is not clear what the check does",
                "exactly one of `http`, `tcp` and `ttl`",
            ));
        }
    };
    if interval.0.is_zero() {
        let field = if matches!(kind, CheckKind::Ttl) { ".ttl" } else { ".interval" };
        return Err(Refusal::bad(&at(field), "must not be 0", "a duration such as `5s`"));
    }
    let number = if input.checks.len() == 1 { String::new() } else { format!(":{index}") };
    Ok(Check {
        namespace: instance.namespace.clone(),
        node: instance.node.clone(),
        id: check.id.clone().unwrap_or_else(|| format!("service:{}{number}", instance.id)),
        name: check.name.clone().unwrap_or_else(|| format!("{} {what}", input.service)),
        instance: Some(instance.id.clone()),
        service: input.service.clone(),
        health: Health::Critical,
        output: String::new(),
        notes: String::new(),
        definition: Some(CheckDefinition {
            kind,
            interval,
            timeout: check.timeout.unwrap_or_else(|| Span(interval.0.min(CHECK_INTERVAL.0))),
            successes_before_passing: 0,
            failures_before_critical: 0,
            failures_before_warning: 0,
            deregister_after: check.deregister_after,
        }),
        runner: Runner::Server,
    })
}
