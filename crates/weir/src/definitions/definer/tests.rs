//! Definitions that change, over a registry in memory.

use std::sync::Mutex as StdMutex;

use serde_json::{Value, json};
use weir_control::Settings;
use weir_model::registry::Health;

use super::*;

/// A definer whose definitions are told, not read.
struct World {
    control: Arc<Control>,
    definer: Definer,
    defined: Arc<StdMutex<Value>>,
}

impl World {
    async fn start(scripts: Scripts) -> Self {
        let store = Arc::new(weir_store::Memory::new());
        Self::over(Control::start(store, Settings::default()).await.unwrap(), scripts)
    }

    fn over(control: Arc<Control>, scripts: Scripts) -> Self {
        let defined = Arc::new(StdMutex::new(json!({})));
        let told = Arc::clone(&defined);
        let source = Source::new(move || {
            let mut definitions = Definitions::default();
            definitions.take("told", told.lock().unwrap().as_object().unwrap())?;
            Ok(definitions)
        });
        let api = ConsulApi::of_agent(Arc::clone(&control), true);
        let definer = Definer::new(source, scripts, None, Arc::clone(&control), api);
        Self { control, definer, defined }
    }

    async fn define(&self, definitions: Value) -> Result<(), String> {
        *self.defined.lock().unwrap() = definitions;
        self.definer.define().await.map_err(|failure| failure.message)
    }

    /// Registers a check as a request does.
    async fn request(&self, check: Value) {
        let Value::Object(map) = check else { panic!() };
        self.definer.api.define_check(&map, true).await.unwrap();
    }

    fn name(&self, id: &str) -> CheckRef {
        CheckRef::new("default", &*self.control.settings().node_name, id)
    }

    async fn pass(&self, id: &str) {
        self.control.set_check(&self.name(id), Health::Passing, "").await.unwrap();
    }

    /// The checks with their health, by id.
    fn checks(&self) -> Vec<(String, Health)> {
        let view = self.control.catalog().node_view(&self.control.settings().node_name).entries.unwrap();
        let mut checks: Vec<_> = view.checks().map(|one| (one.value.id.clone(), one.value.health)).collect();
        checks.sort();
        checks
    }
}

fn all(checks: &[(&str, Health)]) -> Vec<(String, Health)> {
    checks.iter().map(|(id, health)| ((*id).to_owned(), *health)).collect()
}

#[tokio::test]
async fn what_is_defined_again_keeps_its_health_and_what_requests_added() {
    let world = World::start(Scripts::Off).await;
    let definitions = json!({
        "service": {"name": "web", "check": {"id": "own", "ttl": "1h"}},
        "checks": [{"name": "c", "service_id": "web", "ttl": "1h"}],
    });
    world.define(definitions.clone()).await.unwrap();
    world.request(json!({"Name": "asked", "ServiceID": "web", "TTL": "1h"})).await;
    for id in ["own", "c", "asked"] {
        world.pass(id).await;
    }
    let passing = Health::Passing;
    world.define(definitions).await.unwrap();
    assert_eq!(world.checks(), all(&[("asked", passing), ("c", passing), ("own", passing)]));
    // What a service does not embed any more goes, what it embeds now comes.
    world.define(json!({"service": {"name": "web", "check": {"id": "other", "ttl": "1h"}}})).await.unwrap();
    assert_eq!(world.checks(), all(&[("asked", passing), ("other", Health::Critical)]));
    world.define(json!({})).await.unwrap();
    assert_eq!(world.checks(), []);
}

#[tokio::test]
async fn an_id_is_defined_once() {
    let world = World::start(Scripts::Off).await;
    let error = world
        .define(json!({
            "service": {"name": "web", "check": {"id": "c", "ttl": "1h"}},
            "check": {"id": "c", "name": "c", "ttl": "1h"},
        }))
        .await
        .unwrap_err();
    assert!(error.contains("told: check: the id \"c\" is defined twice"), "{error}");
    let error =
        world.define(json!({"check": {"id": "serfHealth", "name": "c", "ttl": "1h"}})).await.unwrap_err();
    assert!(error.contains("told: check: ") && error.contains("stands for the agent"), "{error}");
}

#[tokio::test]
async fn what_a_wrong_definition_left_behind_goes_later() {
    let world = World::start(Scripts::Off).await;
    world.define(json!({"check": {"name": "a", "ttl": "1h"}})).await.unwrap();
    world.define(json!({"checks": [{"name": "b", "ttl": "1h"}, {"name": "wrong"}]})).await.unwrap_err();
    assert_eq!(
        world.checks(),
        all(&[("a", Health::Critical)]),
        "all is judged before anything is registered"
    );
    let misfit = json!({"name": "misfit", "ttl": "1h", "service_id": "nobody"});
    world.define(json!({"checks": [{"name": "b", "ttl": "1h"}, misfit]})).await.unwrap_err();
    assert_eq!(world.checks(), all(&[("a", Health::Critical), ("b", Health::Critical)]));
    world.define(json!({"check": {"name": "c", "ttl": "1h"}})).await.unwrap();
    assert_eq!(world.checks(), all(&[("c", Health::Critical)]));
}

#[tokio::test]
async fn programs_of_requests_go_once_they_are_not_allowed() {
    let program = |name: &str| json!({"Name": name, "Args": ["/bin/true"], "Interval": "1h"});
    let definitions = json!({
        "service": {"name": "web", "check": {"id": "own", "args": ["/bin/true"], "interval": "1h"}},
        "check": program("c"),
    });
    let world = World::start(Scripts::On).await;
    world.define(definitions.clone()).await.unwrap();
    world.request(program("asked")).await;
    world.request(json!({"Name": "ttl", "TTL": "1h"})).await;
    world.define(definitions.clone()).await.unwrap();
    let critical = Health::Critical;
    assert_eq!(
        world.checks(),
        all(&[("asked", critical), ("c", critical), ("own", critical), ("ttl", critical)])
    );
    let local = World::over(Arc::clone(&world.control), Scripts::Local);
    local.define(definitions).await.unwrap();
    assert_eq!(world.checks(), all(&[("c", critical), ("own", critical), ("ttl", critical)]));
    let off = World::over(Arc::clone(&world.control), Scripts::Off);
    off.define(json!({})).await.unwrap();
    assert_eq!(world.checks(), all(&[("ttl", critical)]));
}

#[tokio::test]
async fn what_files_define_is_there_again_after_a_restore() {
    let world = World::start(Scripts::Local).await;
    let (mut export, mut before) = (world.control.backup().await.unwrap(), Vec::new());
    while let Some(piece) = export.next().await.unwrap() {
        before.extend_from_slice(&piece);
    }
    world.define(json!({"check": {"name": "c", "args": ["/bin/true"], "interval": "1h"}})).await.unwrap();
    let defined = world.checks();
    assert_eq!(defined.len(), 1);
    let restored = async {
        world.control.restore(std::io::Cursor::new(before), false).await.unwrap();
        while world.checks() != defined {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let restores = world.control.restores();
    tokio::select! {
        () = crate::control_plane::define_after_restores(&world.control, &world.definer, &[], restores) => {}
        () = restored => return,
        () = tokio::time::sleep(std::time::Duration::from_secs(60)) => {}
    }
    panic!("it is not there");
}
