//! Which instances a prepared query takes. Pure.

use std::collections::BTreeMap;

use weir_control::catalog::ServiceMember;
use weir_model::registry::Health;

use super::definition::Service;
use crate::consul::views::{NODE_MAINTENANCE, SERVICE_MAINTENANCE};

/// Whether a query takes an instance: healthy enough, with all of the metadata and the wanted tags, without the unwanted.
pub(super) fn takes(service: &Service, member: &ServiceMember) -> bool {
    let instance = member.instance.value();
    let worst = if service.only_passing { Health::Passing } else { Health::Warning };
    health(service, member) <= worst
        && service.tags.iter().all(|tag| allows(tag, &instance.tags))
        && has_all(&member.node.node.value.metadata, &service.node_meta)
        && has_all(&instance.metadata, &service.service_meta)
}

/// The worst of the checks that are not ignored.
fn health(service: &Service, member: &ServiceMember) -> Health {
    let ignored = |id: &str| service.ignore_check_ids.iter().any(|ignored| ignored == id);
    let instance = member.instance.value();
    let node_maintained = member.node.node.value.maintenance.is_some() && !ignored(NODE_MAINTENANCE);
    let own_maintenance = format!("{SERVICE_MAINTENANCE}{}", instance.id);
    if node_maintained || (instance.maintenance.is_some() && !ignored(&own_maintenance)) {
        return Health::Critical;
    }
    let checks = member.checks().filter(|check| !ignored(&check.value.id));
    checks.map(|check| check.value.health).max().unwrap_or(Health::Passing)
}

/// Whether tags go with a wanted tag; with `!` before it, with an unwanted one.
fn allows(tag: &str, own: &[String]) -> bool {
    let has = |tag: &str| own.iter().any(|own| own.eq_ignore_ascii_case(tag));
    tag.strip_prefix('!').map_or_else(|| has(tag), |unwanted| !has(unwanted))
}

fn has_all(own: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(key, value)| own.get(key) == Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_wanted_or_unwanted() {
        let own = ["v1".to_owned(), "Blue".to_owned()];
        for (tag, expect) in
            [("v1", true), ("blue", true), ("v2", false), ("!v2", true), ("!V1", false), ("!", true)]
        {
            assert_eq!(allows(tag, &own), expect, "{tag}");
        }
    }
}
