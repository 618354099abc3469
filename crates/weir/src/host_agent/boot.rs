//! Whether the host was started anew since its agent last ran: then nothing that was known of its services holds.

use std::fs;
use std::io;
use std::path::Path;

use weir_control::Control;
use weir_control::catalog::CheckRef;
use weir_model::registry::Health;

use crate::exit::{Exit, Failure};

/// Where the kernel says which start of the host this is: a UUID, random at each.
const KERNEL: &str = "/proc/sys/kernel/random/boot_id";
/// The file in the data directory that says during which it was last written.
const FILE: &str = "boot-id";
/// What checks say that were not looked at since.
const OUTPUT: &str = "the host was started anew, not looked at since";

/// Makes all checks of the own node critical if this is another start of the host than that during which the agent last ran,
/// and keeps which it is. A host that does not say, an agent that keeps nothing and one that never ran here count as the
/// same.
///
/// # Errors
/// When it cannot be kept.
pub(super) async fn doubt_if_another(data_dir: Option<&Path>, control: &Control) -> Result<(), Failure> {
    let (Some(dir), Ok(now)) = (data_dir, fs::read_to_string(KERNEL)) else { return Ok(()) };
    let failed = |error: io::Error| {
        let message = format!("cannot use the data directory {}: {FILE}: {error}", dir.display());
        Failure::new(Exit::CannotStart, message)
    };
    let now = now.trim();
    if is_another(dir, now).map_err(failed)? {
        doubt_all(control).await;
    }
    fs::write(dir.join(FILE), format!("{now}\n")).map_err(failed)
}

fn is_another(dir: &Path, now: &str) -> io::Result<bool> {
    match fs::read_to_string(dir.join(FILE)) {
        Ok(before) => Ok(before.trim() != now),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes all checks critical until they are looked at, or their services report.
async fn doubt_all(control: &Control) {
    let Some(view) = control.catalog().node_view(&control.settings().node_name).entries else { return };
    let mut count = 0;
    for check in view.checks().filter(|check| check.value.health != Health::Critical) {
        // One that is gone meanwhile is critical to nobody.
        let _ = control.set_check(&CheckRef::of(&check.value), Health::Critical, OUTPUT).await;
        count += 1;
    }
    tracing::info!(
        checks = count,
        "the host was started anew: checks are critical until something is heard of them"
    );
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use weir_control::Settings;
    use weir_model::registry::{Check, CheckDefinition, CheckKind};
    use weir_model::units::Span;

    use super::*;

    fn ttl(node: &str) -> Check {
        let hour = Span(std::time::Duration::from_secs(3600));
        Check {
            node: node.to_owned(),
            id: "c".to_owned(),
            name: "c".to_owned(),
            definition: Some(CheckDefinition {
                kind: CheckKind::Ttl,
                interval: hour,
                timeout: hour,
                successes_before_passing: 0,
                failures_before_critical: 0,
                failures_before_warning: 0,
                deregister_after: None,
            }),
            ..Check::default()
        }
    }

    #[tokio::test]
    async fn nothing_is_believed_after_another_start_of_the_host() {
        let control = Control::start(Arc::new(weir_store::Memory::new()), Settings::default()).await.unwrap();
        let check = ttl(&control.settings().node_name);
        let name = CheckRef::of(&Check { namespace: "default".to_owned(), ..check.clone() });
        control.register_check(check).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        for (before, expected) in
            [(None, Health::Passing), (Some("another"), Health::Critical), (None, Health::Passing)]
        {
            control.set_check(&name, Health::Passing, "").await.unwrap();
            if let Some(before) = before {
                fs::write(dir.path().join(FILE), before).unwrap();
            }
            doubt_if_another(Some(dir.path()), &control).await.unwrap();
            assert_eq!(control.catalog().check(&name).unwrap().value.health, expected, "{before:?}");
            doubt_if_another(None, &control).await.unwrap();
        }
    }
}
