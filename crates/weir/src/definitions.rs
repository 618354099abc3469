//! Services and checks that files define, in Consul's form: read here, judged by Consul's API when they are registered.

mod definer;
mod doubled;
pub(crate) mod hcl;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::exit::{Exit, Failure};

pub(crate) use definer::{Definer, read};

/// The largest file of definitions, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// What files of definitions hold.
const KEYS: [&str; 4] = ["service", "services", "check", "checks"];

/// Which checks may be programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Scripts {
    /// None.
    #[default]
    Off,
    /// Those that files define.
    Local,
    /// Those too that requests register.
    On,
}

/// Services and checks that files define, each with its place for people.
#[derive(Clone, Debug, Default)]
pub(crate) struct Definitions {
    /// Services.
    pub services: Vec<(String, Map<String, Value>)>,
    /// Checks.
    pub checks: Vec<(String, Map<String, Value>)>,
}

/// Where definitions come from, each time they are read.
#[derive(Clone, Default)]
pub(crate) struct Source(Option<Arc<dyn Fn() -> Result<Definitions, Failure> + Send + Sync>>);

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&self.0.is_some()).finish()
    }
}

impl Source {
    /// What this reads.
    pub(crate) fn new(read: impl Fn() -> Result<Definitions, Failure> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(read)))
    }

    /// Files, or directories of such files.
    pub(crate) fn files(paths: Vec<PathBuf>) -> Self {
        Self::new(move || {
            let mut definitions = Definitions::default();
            paths.iter().try_for_each(|path| definitions.read(path))?;
            Ok(definitions)
        })
    }

    /// Reads them.
    ///
    /// # Errors
    /// When a file cannot be read, or is not what it should be.
    pub(crate) fn read(&self) -> Result<Definitions, Failure> {
        self.0.as_ref().map_or_else(|| Ok(Definitions::default()), |read| read())
    }
}

impl Definitions {
    /// Adds those of a file, or of all `.json` files of a directory, in the order of their names.
    pub(crate) fn read(&mut self, path: &Path) -> Result<(), Failure> {
        for file in files(path)? {
            let (place, map) = (file.display().to_string(), read_object(&file)?);
            for key in map.keys() {
                if !key.starts_with('_') && !KEYS.contains(&&**key) {
                    let message =
                        format!("{place}: {key}: unknown key, expected service, services, check or checks");
                    let failure = Failure::new(Exit::Invalid, message);
                    let near = weir_model::document::nearest(key, KEYS);
                    return Err(match near {
                        Some(near) => failure.hint(format!("did you mean `{near}`?")),
                        None => failure,
                    });
                }
            }
            self.take(&place, &map)?;
        }
        Ok(())
    }

    /// Adds what stands under `service`, `services`, `check` and `checks`.
    pub(crate) fn take(&mut self, place: &str, map: &Map<String, Value>) -> Result<(), Failure> {
        collect(place, map, "service", false, &mut self.services)?;
        collect(place, map, "services", true, &mut self.services)?;
        collect(place, map, "check", false, &mut self.checks)?;
        collect(place, map, "checks", true, &mut self.checks)
    }
}

fn collect(
    place: &str,
    map: &Map<String, Value>,
    key: &str,
    several: bool,
    list: &mut Vec<(String, Map<String, Value>)>,
) -> Result<(), Failure> {
    let wrong = |path: String, expected: &str| {
        Failure::new(Exit::Invalid, format!("{place}: {path}: expected {expected}"))
    };
    match map.get(key) {
        None | Some(Value::Null) => Ok(()),
        Some(Value::Object(one)) if !several => {
            list.push((format!("{place}: {key}"), one.clone()));
            Ok(())
        }
        Some(Value::Array(all)) => {
            for (at, one) in all.iter().enumerate() {
                let path = format!("{key}[{at}]");
                let Value::Object(one) = one else { return Err(wrong(path, "an object")) };
                list.push((format!("{place}: {path}"), one.clone()));
            }
            Ok(())
        }
        Some(_) => Err(wrong(key.to_owned(), if several { "an array of objects" } else { "an object" })),
    }
}

/// A file, or the `.json` files of a directory, in the order of their names.
///
/// # Errors
/// When they cannot be read, and where there is HCL.
pub(crate) fn files(path: &Path) -> Result<Vec<PathBuf>, Failure> {
    hcl::refuse(path)?;
    let failed = |error: std::io::Error| unreadable(path, &error);
    if !std::fs::metadata(path).map_err(failed)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).map_err(failed)?;
    let mut files = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json") && file.is_file());
    files.sort();
    Ok(files)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Invalid, format!("cannot read {}: {error}", path.display()))
        .hint("a JSON file that this user may read is expected, or a directory of files that end in .json")
}

/// A JSON object in a file.
pub(crate) fn read_object(path: &Path) -> Result<Map<String, Value>, Failure> {
    let shown = path.display();
    let failed = |error: std::io::Error| unreadable(path, &error);
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > FILE_BYTES_MAX {
        let message = format!("{shown}: {length} bytes, expected at most {FILE_BYTES_MAX}");
        return Err(Failure::new(Exit::Invalid, message));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    match serde_json::from_str(&text) {
        Ok(Value::Object(mut map)) => {
            doubled::refuse(&shown.to_string(), &text)?;
            hcl::unfold(&mut map);
            Ok(map)
        }
        Ok(_) => Err(Failure::new(Exit::Invalid, format!("{shown}: expected a JSON object"))),
        Err(error) => Err(Failure::new(Exit::Invalid, format!("{shown}: {error}"))
            .hint(format!("JSON is expected; if it is HCL, {}", hcl::HINT))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(text: &str) -> Result<Definitions, String> {
        let Value::Object(map) = serde_json::from_str(text).unwrap() else { panic!() };
        let mut definitions = Definitions::default();
        definitions.take("a.json", &map).map(|()| definitions).map_err(|failure| failure.message)
    }

    #[test]
    fn definitions_stand_alone_or_in_lists() {
        let text = r#"{"service": {"name": "a"}, "services": [{"name": "b"}, {"name": "c"}], "checks": [{"name": "d"}]}"#;
        let found = taken(text).unwrap();
        let places: Vec<_> = found.services.iter().chain(&found.checks).map(|(place, _)| &**place).collect();
        assert_eq!(
            places,
            ["a.json: service", "a.json: services[0]", "a.json: services[1]", "a.json: checks[0]"]
        );
        for (bad, says) in [
            (r#"{"services": {}}"#, "a.json: services: expected an array of objects"),
            (r#"{"check": 1}"#, "a.json: check: expected an object"),
            (r#"{"checks": [1]}"#, "a.json: checks[0]: expected an object"),
        ] {
            assert_eq!(taken(bad).unwrap_err(), says);
        }
    }

    #[test]
    fn files_of_definitions_hold_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("b.json", r#"{"service": {"name": "b"}}"#);
        write("a.json", r#"{"service": {"name": "a"}}"#);
        write("c.txt", "not looked at");
        let mut definitions = Definitions::default();
        definitions.read(dir.path()).unwrap();
        let names: Vec<_> =
            definitions.services.iter().map(|(_, map)| map["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["a", "b"]);
        write("d.json", r#"{"ports": {}}"#);
        assert!(definitions.read(dir.path()).unwrap_err().message.contains("ports: unknown key"));
        write("d.json", r#"{"servces": []}"#);
        assert!(definitions.read(dir.path()).unwrap_err().hint.unwrap().contains("`services`"));
        let failure = definitions.read(&dir.path().join("none.json")).unwrap_err();
        assert_eq!(failure.exit, Exit::Invalid);
        assert!(failure.message.contains("none.json") && failure.hint.is_some(), "{failure}");
        write("d.json", "{");
        assert!(definitions.read(&dir.path().join("d.json")).unwrap_err().hint.unwrap().contains("HCL"));
    }
}
