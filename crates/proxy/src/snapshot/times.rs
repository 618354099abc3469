//! Who says how long a request may take, for answers to those whose time is over. Worked out only then.

use weir_api::snapshot::{COPY_OF, MADE_OF};
use weir_model::resource::references::rule_label;
use weir_model::{DEFAULT_NAMESPACE, Resource, ResourceId, Spec};

use super::Snapshot;
use super::settings::Settings;

/// Times that a request is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Time {
    /// Of all of it, up to the head of the response.
    Request,
    /// Of one attempt.
    Attempt,
}

impl Snapshot {
    /// Who says how long a request by a rule may take, as people find it: `timeouts.request of HTTPRoute/shop#0`, `RequestTimeout of
    /// config entry service-resolver/web`. `rule` is the rule's label, `settings` those that hold for the call.
    pub(crate) fn who_says(&self, time: Time, rule: &str, settings: &Settings) -> String {
        if let Some(said) = self.rule_says(time, rule) {
            return said;
        }
        let by = match time {
            Time::Request => &settings.times_by.request,
            Time::Attempt => &settings.times_by.attempt,
        };
        let Some(id) = by else { return "the default".to_owned() };
        let resource = self.inputs.resources.get(&**id);
        if let Some(entry) = resource.and_then(|resource| entry(resource)) {
            return format!("RequestTimeout of config entry {entry}");
        }
        let copied = resource.and_then(|resource| resource.metadata.annotations.get(COPY_OF));
        let id = copied.cloned().unwrap_or_else(|| id.to_string());
        match time {
            Time::Request => format!("timeouts.request of {id}"),
            Time::Attempt => format!("timeouts.perTry of {id}"),
        }
    }

    /// The same of a rule that says so itself.
    fn rule_says(&self, time: Time, rule: &str) -> Option<String> {
        let id = id_of(rule.split_once('#')?.0)?;
        let resource = self.inputs.resources.get(&id)?;
        let Spec::HttpRoute(route) = &resource.spec else { return None };
        let mut rules = route.rules.iter().enumerate();
        let (index, found) =
            rules.find(|(index, found)| rule_label(&id, *index, found.name.as_deref()) == rule)?;
        let timeouts = found.timeouts.as_ref()?;
        match time {
            Time::Request => timeouts.request.as_ref().map(|_| match entry(resource) {
                Some(entry) => format!("Routes[{index}].Destination.RequestTimeout of config entry {entry}"),
                None => format!("timeouts.request of {rule}"),
            }),
            Time::Attempt => {
                timeouts.backend_request.as_ref().map(|_| format!("timeouts.backendRequest of {rule}"))
            }
        }
    }
}

/// The config entry that a document was made of.
fn entry(resource: &Resource) -> Option<&str> {
    resource.metadata.annotations.get(MADE_OF).map(String::as_str)
}

/// Reads `Kind/name` or `Kind/namespace/name`.
fn id_of(label: &str) -> Option<ResourceId> {
    let (kind, rest) = label.split_once('/')?;
    let (namespace, name) = rest.split_once('/').unwrap_or((DEFAULT_NAMESPACE, rest));
    Some(ResourceId::new(kind.parse().ok()?, namespace, name))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::snapshot::tests::{inputs, resource, service};
    use crate::snapshot::{Compiler, Role};

    #[test]
    fn whoever_says_how_long_it_may_take_is_named() {
        let made = |kind, name, annotation: &str, of: &str, spec: Value| {
            let mut made = resource(kind, name, spec);
            made.metadata.annotations.insert(annotation.to_owned(), of.to_owned());
            made
        };
        let rules = json!([{"timeouts": {"request": "2s", "backendRequest": "1s"}}, {"backendRefs": [{"name": "web"}]}]);
        let parents = json!([{"kind": "Service", "name": "web"}]);
        let route = json!({"parentRefs": parents, "rules": rules});
        let policy =
            |of: &str| json!({"targetRefs": [{"name": of}], "timeouts": {"request": "3s", "perTry": "1s"}});
        let snapshot = Compiler::new(Role::Gateway { gateways: Vec::new() }).compile(
            &inputs([
                service("plain", &[1]),
                service("web", &[1]),
                service("api", &[1]),
                service("sub", &[1]),
                resource("HTTPRoute", "blue/shop", route.clone()),
                made("HTTPRoute", "service-router.web", MADE_OF, "service-router/web", route),
                made("TrafficPolicy", "service-resolver.web", MADE_OF, "service-resolver/web", policy("web")),
                made(
                    "TrafficPolicy",
                    "service-subsets.api.000",
                    COPY_OF,
                    "TrafficPolicy/mine",
                    policy("sub"),
                ),
                resource("TrafficPolicy", "of-api", policy("api")),
            ]),
            None,
        );
        let snapshot = snapshot.unwrap();
        let said = |time, rule: &str, service: &str| {
            let upstream = snapshot.upstream_of(&weir_model::ServiceRef::new("default", service)).unwrap();
            snapshot.who_says(time, rule, &upstream.settings)
        };
        let entry = "Routes[0].Destination.RequestTimeout of config entry service-router/web";
        assert_eq!(said(Time::Request, "HTTPRoute/service-router.web#0", "web"), entry);
        let entry = "RequestTimeout of config entry service-resolver/web";
        assert_eq!(said(Time::Request, "HTTPRoute/service-router.web#1", "web"), entry);
        assert_eq!(said(Time::Request, "Service/web", "web"), entry);
        assert_eq!(said(Time::Request, "", "plain"), "the default");
        let shop = "HTTPRoute/blue/shop#0";
        assert_eq!(said(Time::Request, shop, "plain"), format!("timeouts.request of {shop}"));
        assert_eq!(said(Time::Attempt, shop, "plain"), format!("timeouts.backendRequest of {shop}"));
        assert_eq!(said(Time::Request, "", "api"), "timeouts.request of TrafficPolicy/of-api");
        assert_eq!(said(Time::Attempt, "", "api"), "timeouts.perTry of TrafficPolicy/of-api");
        assert_eq!(said(Time::Request, "", "sub"), "timeouts.request of TrafficPolicy/mine");
    }
}
