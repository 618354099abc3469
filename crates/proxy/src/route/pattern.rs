//! Regular expressions of routes: compiled once, shared between snapshots, matched in time linear in the text.
//!
//! An expression is that of the `regex` crate (RE2's syntax: no look-around, no back-references) and must match the
//! whole text, as Envoy's do. Its size is bounded, so that a document cannot take much memory.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use regex::bytes::{Regex, RegexBuilder};

/// The most memory that one compiled expression may take, in bytes.
pub const PATTERN_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most memory for what an expression remembers while it matches, per thread, in bytes. Beyond, it is slower but
/// still linear.
const PATTERN_CACHE_BYTES_MAX: usize = 256 * 1024;
/// The most different expressions of a snapshot.
pub const PATTERNS_MAX: usize = 4096;

/// An expression.
#[derive(Debug)]
pub struct Pattern {
    text: Box<str>,
    regex: Regex,
    /// How much of the text before the first special character ends with a slash: see [`Self::under`].
    literal: Box<str>,
}

/// Why text is not an expression that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It is none.
    #[error("`{0}` is not a regular expression: {1}")]
    Syntax(String, String),
    /// It takes too much memory.
    #[error("`{0}` needs more than {PATTERN_BYTES_MAX} bytes when compiled: expected a simpler expression")]
    TooBig(String),
    /// There are too many.
    #[error("there are more than {PATTERNS_MAX} different regular expressions")]
    TooMany,
}

impl Pattern {
    /// Compiles an expression.
    ///
    /// # Errors
    /// It is none, or too big.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let build = |text: &str| {
            RegexBuilder::new(text)
                .size_limit(PATTERN_BYTES_MAX)
                .dfa_size_limit(PATTERN_CACHE_BYTES_MAX)
                .build()
                .map_err(|error| match error {
                    regex::Error::CompiledTooBig(_) => PatternError::TooBig(text.to_owned()),
                    error => PatternError::Syntax(text.to_owned(), reason(&error)),
                })
        };
        // By itself first: an unbalanced parenthesis must not pair with one of ours.
        build(text)?;
        let regex = build(&format!(r"\A(?:{text})\z"))?;
        Ok(Self { text: text.into(), regex, literal: literal_segments(text).into() })
    }

    /// Whether all of a text matches. Allocates only while it still gets to know the texts that come.
    pub fn matches(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The whole segments that every path it matches begins with, without a slash at the end: where the index looks.
    pub fn under(&self) -> &str {
        self.literal.strip_suffix('/').unwrap_or(&self.literal)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

/// The part of the error that says what is wrong, in one line.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    last.trim().strip_prefix("error: ").unwrap_or(last.trim()).to_owned()
}

/// What an expression begins with as it stands, up to the last slash. Careful rather than clever: where in doubt,
/// nothing.
fn literal_segments(text: &str) -> String {
    let text = text.strip_prefix('^').unwrap_or(text);
    if has_top_level_choice(text) {
        return String::new();
    }
    let mut literal = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let plain = match c {
            '\\' => match chars.next() {
                Some(escaped) if escaped.is_ascii_punctuation() => escaped,
                _ => break,
            },
            '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$' => break,
            c => c,
        };
        // What is repeated, perhaps not at all, says nothing.
        if matches!(chars.peek(), Some('*' | '?' | '{' | '+')) {
            break;
        }
        literal.push(plain);
    }
    literal.truncate(literal.rfind('/').map_or(0, |at| at + 1));
    literal
}

/// Whether the expression is a choice as a whole. Brackets and escapes are not understood in full; what looks like a
/// choice is taken for one.
fn has_top_level_choice(text: &str) -> bool {
    let mut depth = 0i32;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '(' => depth += 1,
            ')' => depth -= 1,
            '|' if depth <= 0 => return true,
            // A parenthesis in brackets would confuse the count.
            '[' => return text.contains('|'),
            _ => {}
        }
    }
    false
}

/// Expressions in use by their text, so that they need not be compiled again.
#[derive(Clone, Debug, Default)]
pub struct KnownPatterns(HashMap<Box<str>, Weak<Pattern>>);

/// The expressions that a snapshot needs, while it is compiled.
#[derive(Debug, Default)]
pub struct Patterns {
    known: KnownPatterns,
    needed: HashMap<Box<str>, Arc<Pattern>>,
}

impl Patterns {
    /// None yet; those that are in use already are shared.
    pub fn new(known: KnownPatterns) -> Self {
        Self { known, needed: HashMap::new() }
    }

    /// An expression: the one there is, else a new one.
    ///
    /// # Errors
    /// It cannot be used, or there are too many.
    pub fn get(&mut self, text: &str) -> Result<Arc<Pattern>, PatternError> {
        if let Some(known) = self.needed.get(text) {
            return Ok(Arc::clone(known));
        }
        if self.needed.len() >= PATTERNS_MAX {
            return Err(PatternError::TooMany);
        }
        let pattern = match self.known.0.get(text).and_then(Weak::upgrade) {
            Some(known) => known,
            None => Arc::new(Pattern::new(text)?),
        };
        self.needed.insert(text.into(), Arc::clone(&pattern));
        Ok(pattern)
    }

    /// All that are in use now, by this snapshot or another.
    pub fn finish(self) -> KnownPatterns {
        let mut known = self.known;
        known.0.extend(self.needed.iter().map(|(text, pattern)| (text.clone(), Arc::downgrade(pattern))));
        known.0.retain(|_, pattern| pattern.strong_count() > 0);
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_text_must_match() {
        let check = |pattern: &str, text: &str, expected: bool| {
            assert_eq!(Pattern::new(pattern).unwrap().matches(text.as_bytes()), expected, "{pattern} {text}");
        };
        check("/a/[0-9]+", "/a/12", true);
        check("/a/[0-9]+", "/a/12/b", false);
        check("/a/[0-9]+", "/x/a/12", false);
        check("a|b", "b", true);
        check("a|b", "ab", false);
        check("^/a$", "/a", true);
        check("(?i)/A", "/a", true);
        check("(?x) /a  # a comment\n", "/a", true);
        check("", "", true);
        check("a", "a\n", false);
        check(".*", "\u{e9}", true);
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let check = |pattern: &str, expected: &str| {
            let error = Pattern::new(pattern).unwrap_err().to_string();
            assert!(error.contains(expected), "{pattern}: {error}");
        };
        check("a(", "unclosed group");
        check("a)|(b", "unopened group");
        check("[z-a]", "invalid character class range");
        check("(?=a)b", "look-around");
        check(r"(a)\1", "backreferences");
        // It would hide what makes it whole.
        check("(?x) /a # a comment", "unclosed group");
        check("(a{1000}){1000}", "needs more than 4194304 bytes");
    }

    /// What documents may say must compile, or it would be refused only by proxies.
    #[test]
    fn what_documents_may_say_is_not_too_big() {
        for unit in [r"\w", ".", "(?i)[a-z]", r"\PN"] {
            let most = (1..=1000u32).rev().map(|times| format!("({unit}){{{times}}}"));
            let largest = most.into_iter().find(|text| weir_model::pattern::check(text).is_ok()).unwrap();
            assert!(Pattern::new(&largest).is_ok(), "{largest}");
        }
    }

    #[test]
    fn hostile_expressions_take_linear_time() {
        let pattern = Pattern::new("(a+)+b").unwrap();
        assert!(!pattern.matches("a".repeat(100_000).as_bytes()));
    }

    #[test]
    fn literal_beginnings() {
        let check = |pattern: &str, expected: &str| {
            assert_eq!(Pattern::new(pattern).unwrap().under(), expected, "{pattern}");
        };
        check("/api/v[12]/.*", "/api");
        check("^/api/v1/items/[0-9]+$", "/api/v1/items");
        check("/api/v1", "/api");
        check(r"/a\.b/c", "/a.b");
        check(r"/a\d/c", "");
        check("/a/b?/c", "/a");
        check("/a/?x", "");
        check("/a/+x", "");
        check("/a/b|/c/d", "");
        check("/a/(b|c)", "/a");
        check("/a/[|]", "");
        check("(?i)/a/b", "");
        check(".*", "");
        check("(/a/b)?", "");
    }

    #[test]
    fn expressions_are_compiled_once_and_forgotten_when_nobody_uses_them() {
        let mut old = Patterns::default();
        let first = old.get("/a.*").unwrap();
        assert!(Arc::ptr_eq(&first, &old.get("/a.*").unwrap()));
        assert!(!Arc::ptr_eq(&first, &Patterns::default().get("/a.*").unwrap()));
        old.get("/b.*").unwrap();
        let known = old.finish();
        assert_eq!(known.0.len(), 2);
        let mut new = Patterns::new(known);
        assert!(Arc::ptr_eq(&first, &new.get("/a.*").unwrap()));
        assert!(new.get("(").is_err());
        assert_eq!(new.finish().0.len(), 1, "nobody uses the other");
    }

    #[test]
    fn their_number_is_bounded() {
        let mut patterns = Patterns::default();
        for i in 0..PATTERNS_MAX {
            patterns.get(&format!("{i}")).unwrap();
        }
        assert_eq!(patterns.get("x"), Err(PatternError::TooMany));
        assert!(patterns.get("0").is_ok());
    }
}
