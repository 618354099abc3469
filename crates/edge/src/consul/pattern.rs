//! Regular expressions that clients send. They are matched in time linear in the text, and bounded in what they cost to
//! keep.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use regex::{Regex, RegexBuilder};

/// Longest expression, in bytes.
pub(super) const PATTERN_BYTES_MAX: usize = 512;
/// Largest program that an expression may become, in bytes, and as much again for what is kept while it is matched.
const PROGRAM_BYTES_MAX: usize = 256 * 1024;
/// The same of an expression that lives for one request.
const SMALL_PROGRAM_BYTES_MAX: usize = 128 * 1024;
/// Deepest nesting of groups.
const NESTING_MAX: u32 = 32;
/// Expressions that are kept compiled: as many as the events in the ring may have.
const PATTERNS_MAX: usize = 768;

/// Reads an expression; says why it is none.
pub(super) fn compile(text: &str) -> Result<Regex, String> {
    compile_within(text, PROGRAM_BYTES_MAX)
}

/// Reads an expression that lives for one request, of which there may be thousands.
pub(super) fn compile_small(text: &str) -> Result<Regex, String> {
    compile_within(text, SMALL_PROGRAM_BYTES_MAX)
}

fn compile_within(text: &str, bytes_max: usize) -> Result<Regex, String> {
    if text.len() > PATTERN_BYTES_MAX {
        return Err(format!("{} bytes long; expected at most {PATTERN_BYTES_MAX}", text.len()));
    }
    let built = RegexBuilder::new(text)
        .size_limit(bytes_max)
        .dfa_size_limit(bytes_max)
        .nest_limit(NESTING_MAX)
        .build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "too large once compiled".to_owned(),
        // The last line says what is wrong; those before it show where.
        other => {
            other.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
        }
    })
}

/// Expressions that are matched again and again, compiled once. What cannot be compiled is kept as `None`.
#[derive(Default)]
pub(super) struct Patterns(Mutex<HashMap<String, Option<Arc<Regex>>>>);

impl Patterns {
    /// The expression; `None` if it cannot be compiled.
    pub(super) fn get(&self, text: &str) -> Option<Arc<Regex>> {
        let table = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = table().get(text) {
            return known.clone();
        }
        let compiled = compile(text).ok().map(Arc::new);
        let mut table = table();
        if table.len() >= PATTERNS_MAX {
            // Whatever is still asked for is back soon.
            table.clear();
        }
        table.insert(text.to_owned(), compiled.clone());
        compiled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiled_ones_are_kept_within_a_bound() {
        let patterns = Patterns::default();
        assert!(patterns.get("(").is_none() && patterns.get("(").is_none());
        let first = patterns.get("^a").unwrap();
        assert!(Arc::ptr_eq(&first, &patterns.get("^a").unwrap()));
        for n in 0..PATTERNS_MAX * 2 {
            assert!(patterns.get(&n.to_string()).unwrap().is_match(&n.to_string()));
            assert!(patterns.0.lock().unwrap().len() <= PATTERNS_MAX);
        }
    }

    #[test]
    fn what_is_no_expression_or_too_large_is_refused() {
        assert!(compile("^web-[0-9]+$").unwrap().is_match("web-12"));
        assert!(compile_small(r"^(\w+)-(\w+)\.[0-9]+$").unwrap().is_match("web-a.12"));
        let is_between = |text: &str| compile(text).is_ok() && compile_small(text).is_err();
        assert!((1..=36).any(|count| is_between(&"[a-z0-9]{150}".repeat(count))));
        for (text, expect) in [
            ("(", "unclosed group"),
            ("a{1000}{1000}", "too large once compiled"),
            (r"(a)\1", "backreferences are not supported"),
            (&format!("{}a{}", "(".repeat(33), ")".repeat(33)), "nest"),
            (&"a".repeat(513), "513 bytes long; expected at most 512"),
        ] {
            let error = compile(text).unwrap_err();
            assert!(error.contains(expect), "{text}: {error}");
        }
    }
}
