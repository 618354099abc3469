//! Regular expressions in documents: what is allowed, and what they mean.
//!
//! The syntax is that of Rust's `regex` crate, which takes time linear in what it looks at, whatever the expression:
//! no look-around, no references back. An expression must match the *whole* value. This module judges only; whoever
//! matches compiles [`whole`] with the `regex` crate's `bytes::Regex` and its defaults.

use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};
use regex_syntax::utf8::Utf8Sequences;

/// Longest expression, in bytes.
pub const PATTERN_BYTES_MAX: usize = 1024;
/// Deepest nesting of groups and repetitions.
pub const PATTERN_DEPTH_MAX: u32 = 32;
/// Most steps an expression may have once its counted repetitions are written out: what bounds the memory it takes.
pub const PATTERN_STEPS_MAX: u64 = 25_000;

/// Whether an expression can be used.
///
/// # Errors
/// Why not, in a few words.
pub fn check(pattern: &str) -> Result<(), String> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(format!("{} bytes long, at most {PATTERN_BYTES_MAX} are allowed", pattern.len()));
    }
    let hir = parse(pattern)?;
    // A remark in verbose mode could swallow what is put behind the expression.
    parse(&whole(pattern))?;
    if steps(&hir) > PATTERN_STEPS_MAX {
        return Err("its repetitions make it too large".to_owned());
    }
    Ok(())
}

/// The expression that matches what the expression given matches whole.
pub fn whole(pattern: &str) -> String {
    format!(r"\A(?:{pattern})\z")
}

fn parse(pattern: &str) -> Result<Hir, String> {
    // Bytes, as header values are; the `regex` crate's `bytes` side reads expressions the same way.
    let mut parser = ParserBuilder::new().utf8(false).nest_limit(PATTERN_DEPTH_MAX).build();
    parser.parse(pattern).map_err(|error| match error {
        regex_syntax::Error::Parse(error) => error.kind().to_string(),
        regex_syntax::Error::Translate(error) => error.kind().to_string(),
        _ => "not a regular expression".to_owned(),
    })
}

/// How many steps an expression has, about: each byte of a literal, each range of a class in bytes, times how often it is
/// repeated.
fn steps(hir: &Hir) -> u64 {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len() as u64,
        HirKind::Class(class) => {
            let sequences = match class {
                // A range of characters is several of bytes.
                Class::Unicode(class) => {
                    class.iter().map(|range| Utf8Sequences::new(range.start(), range.end()).count()).sum()
                }
                Class::Bytes(class) => class.ranges().len(),
            };
            sequences.max(1) as u64
        }
        HirKind::Repetition(repetition) => {
            let times = u64::from(repetition.max.unwrap_or(repetition.min).max(1));
            steps(&repetition.sub).saturating_mul(times)
        }
        HirKind::Capture(capture) => steps(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().map(steps).fold(0, u64::saturating_add)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_used() {
        for good in ["", "a", "/v[0-9]+/.*", "(?i)yes|no", r"\d{3}-\w+", "^/a$", "(a|b){2,5}", "[^/]+"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_cannot() {
        let check = |pattern: &str, part: &str| {
            let error = check(pattern).unwrap_err();
            assert!(error.contains(part), "{pattern}: {error}");
        };
        check("(", "unclosed group");
        check("a)|(b", "unopened group");
        check("(?=a)", "look-around");
        check(r"(a)\1", "backreferences");
        check("*", "repetition operator missing expression");
        check("(?x)a # remark", "unclosed group");
        check(&"a".repeat(PATTERN_BYTES_MAX + 1), "1025 bytes long");
        check("(a{1000}){1000}", "too large");
        check(r"\w{1000}", "too large");
        check(&format!("{}{}", "(".repeat(100), ")".repeat(100)), "nest");
    }

    #[test]
    fn the_whole_value_must_match() {
        assert_eq!(whole("a|b"), r"\A(?:a|b)\z");
    }
}
