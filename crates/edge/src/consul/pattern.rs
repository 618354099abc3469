//! Regular expressions that clients send. They are matched in time linear in the text, and bounded in what they cost to
//! keep.

use regex::{Regex, RegexBuilder};

/// Longest expression, in bytes.
pub(super) const PATTERN_BYTES_MAX: usize = 512;
/// Largest program that an expression may become, in bytes, and as much again for what is kept while it is matched.
const PROGRAM_BYTES_MAX: usize = 256 * 1024;
/// Deepest nesting of groups.
const NESTING_MAX: u32 = 32;

/// Reads an expression; says why it is none.
pub(super) fn compile(text: &str) -> Result<Regex, String> {
    if text.len() > PATTERN_BYTES_MAX {
        return Err(format!("{} bytes long; expected at most {PATTERN_BYTES_MAX}", text.len()));
    }
    let built = RegexBuilder::new(text)
        .size_limit(PROGRAM_BYTES_MAX)
        .dfa_size_limit(PROGRAM_BYTES_MAX)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_expression_or_too_large_is_refused() {
        assert!(compile("^web-[0-9]+$").unwrap().is_match("web-12"));
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
