//! HCL, the other language of Consul's files: it is not read, but what a program has made of it as JSON is.
//!
//! Such a program cannot know whether a block may be repeated, and writes each as an array: `"ports": [{"http": 8500}]`. Consul
//! takes an array of one object where it expects the object, and so does this.

use std::path::Path;

use serde_json::{Map, Value};

use crate::exit::{Exit, Failure};

/// What to do about HCL.
pub(crate) const HINT: &str =
    "write the same as JSON, which Consul reads too: `hcl2json FILE.hcl > FILE.json`, or by hand";

/// Keys at which one object stands, at whatever depth.
const OBJECTS: [&str; 12] = [
    "addresses",
    "check",
    "connect",
    "dns_config",
    "meta",
    "node_meta",
    "ports",
    "proxy",
    "service",
    "service_ttl",
    "tagged_addresses",
    "weights",
];

/// Refuses a file of HCL, and a directory with one: left out silently, an agent would start without half of what it is told.
///
/// # Errors
/// With what to do.
pub(crate) fn refuse(path: &Path) -> Result<(), Failure> {
    let is_hcl = |path: &Path| path.extension().is_some_and(|extension| extension == "hcl");
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    match entries.chain([path.to_owned()]).find(|path| is_hcl(path)) {
        Some(hcl) => {
            let message = format!("{}: HCL is not understood", hcl.display());
            Err(Failure::new(Exit::Invalid, message).hint(HINT))
        }
        None => Ok(()),
    }
}

/// Puts objects in the place of arrays that hold just one, where one object is expected.
pub(super) fn unfold(map: &mut Map<String, Value>) {
    for (key, value) in map.iter_mut() {
        if OBJECTS.contains(&&**key)
            && let Value::Array(items) = value
            && let [Value::Object(one)] = &mut **items
        {
            *value = Value::Object(std::mem::take(one));
        }
        match value {
            Value::Object(map) => unfold(map),
            Value::Array(items) => items.iter_mut().filter_map(Value::as_object_mut).for_each(unfold),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn blocks_are_objects_where_one_is_expected() {
        let Value::Object(mut map) = json!({
            "ports": [{"http": 8500}],
            "retry_join": ["a"],
            "service": [{"name": "web", "tags": ["a"], "check": [{"ttl": "1s"}], "weights": [{"passing": 2}]}],
            "services": [{"name": "b", "meta": [{"k": "v"}]}],
            "checks": [{"name": "c"}],
            "node_meta": [{"a": "b"}, {"c": "d"}],
        }) else {
            panic!()
        };
        unfold(&mut map);
        let expected = json!({
            "ports": {"http": 8500},
            "retry_join": ["a"],
            "service": {"name": "web", "tags": ["a"], "check": {"ttl": "1s"}, "weights": {"passing": 2}},
            "services": [{"name": "b", "meta": {"k": "v"}}],
            "checks": [{"name": "c"}],
            "node_meta": [{"a": "b"}, {"c": "d"}],
        });
        assert_eq!(Value::Object(map), expected);
    }

    #[test]
    fn a_file_of_hcl_is_named_wherever_it_lies() {
        let dir = tempfile::tempdir().unwrap();
        assert!(refuse(dir.path()).is_ok() && refuse(Path::new("/nowhere.json")).is_ok());
        let file = dir.path().join("web.hcl");
        std::fs::write(&file, "service { name = \"web\" }").unwrap();
        for path in [dir.path(), &file] {
            let failure = refuse(path).unwrap_err();
            assert!(failure.message.ends_with("web.hcl: HCL is not understood"), "{failure}");
            assert!(failure.hint.is_some_and(|hint| hint.contains("hcl2json")));
        }
    }
}
