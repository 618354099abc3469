//! Reads a filter expression. Bounded in length and nesting, so that no text costs more than its size.

use super::{Expr, Match, Pattern, Test};
use crate::consul::pattern;

/// Longest expression, in bytes.
const EXPRESSION_BYTES_MAX: usize = 4096;
/// Deepest nesting of parentheses and `not`.
const DEPTH_MAX: usize = 64;

/// Regular expressions in one expression, each of which takes memory for as long as the request waits.
const PATTERNS_MAX: usize = 4;

/// What is wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Wrong {
    #[error("{length} bytes long; expected at most {EXPRESSION_BYTES_MAX}")]
    TooLong { length: usize },
    #[error("at byte {at}: nested more than {DEPTH_MAX} deep")]
    TooDeep { at: usize },
    #[error("at byte {at}: {what}")]
    Here { at: usize, what: String },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Open,
    Close,
    Equal,
    NotEqual,
    /// Text in quotes: a value.
    Text(String),
    /// A bare word: keyword, value or, by its parts, selector.
    Word {
        raw: String,
        path: Vec<String>,
    },
}

/// Reads an expression.
pub(super) fn parse(text: &str) -> Result<Expr, Wrong> {
    if text.len() > EXPRESSION_BYTES_MAX {
        return Err(Wrong::TooLong { length: text.len() });
    }
    let mut parser = Parser { tokens: lex(text)?, next: 0, end: text.len(), patterns: 0 };
    let expr = parser.or(0)?;
    match parser.peek() {
        None => Ok(expr),
        Some(_) => parser.wrong("expected `and`, `or` or the end"),
    }
}

fn lex(text: &str) -> Result<Vec<(usize, Token)>, Wrong> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let begin = at;
        let token = match bytes[at] {
            b' ' | b'\t' | b'\r' | b'\n' => {
                at += 1;
                continue;
            }
            b'(' => single(&mut at, Token::Open),
            b')' => single(&mut at, Token::Close),
            b'=' | b'!' => {
                if bytes.get(at + 1) != Some(&b'=') {
                    return Err(Wrong::Here { at, what: "expected `==` or `!=`".to_owned() });
                }
                at += 2;
                if bytes[begin] == b'=' { Token::Equal } else { Token::NotEqual }
            }
            b'"' | b'`' => Token::Text(quoted(text, &mut at)?),
            byte if is_word(byte) => word(text, &mut at)?,
            _ => return Err(Wrong::Here { at, what: "an unexpected character".to_owned() }),
        };
        tokens.push((begin, token));
    }
    Ok(tokens)
}

fn single(at: &mut usize, token: Token) -> Token {
    *at += 1;
    token
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/' | b':')
}

/// A text in `"` (with `\` before a quote or backslash) or in backticks (as it is).
fn quoted(text: &str, at: &mut usize) -> Result<String, Wrong> {
    let begin = *at;
    let quote = text.as_bytes()[begin] as char;
    let mut out = String::new();
    let mut chars = text[begin + 1..].char_indices();
    while let Some((offset, c)) = chars.next() {
        match c {
            c if c == quote => {
                *at = begin + 1 + offset + 1;
                return Ok(out);
            }
            '\\' if quote == '"' => out.extend(chars.next().map(|(_, escaped)| escaped)),
            c => out.push(c),
        }
    }
    Err(Wrong::Here { at: begin, what: "the text has no end".to_owned() })
}

/// A bare word with its parts: `Service.Meta["a.b"]` has three.
fn word(text: &str, at: &mut usize) -> Result<Token, Wrong> {
    let bytes = text.as_bytes();
    let begin = *at;
    let mut path = Vec::new();
    loop {
        let from = *at;
        while bytes.get(*at).is_some_and(|byte| is_word(*byte)) {
            *at += 1;
        }
        path.extend(text[from..*at].split('.').filter(|part| !part.is_empty()).map(str::to_owned));
        if bytes.get(*at) != Some(&b'[') {
            return Ok(Token::Word { raw: text[begin..*at].to_owned(), path });
        }
        *at += 1;
        if !matches!(bytes.get(*at), Some(b'"' | b'`')) {
            return Err(Wrong::Here { at: *at, what: "expected a text in quotes".to_owned() });
        }
        path.push(quoted(text, at)?);
        if bytes.get(*at) != Some(&b']') {
            return Err(Wrong::Here { at: *at, what: "expected `]`".to_owned() });
        }
        *at += 1;
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    end: usize,
    /// Regular expressions so far.
    patterns: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    /// Where the next token begins.
    fn at(&self) -> usize {
        self.tokens.get(self.next).map_or(self.end, |(at, _)| *at)
    }

    fn wrong<T>(&self, what: &str) -> Result<T, Wrong> {
        Err(Wrong::Here { at: self.at(), what: what.to_owned() })
    }

    /// Takes the next token if it is this keyword.
    fn keyword(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word { raw, .. }) if raw == word);
        self.next += usize::from(found);
        found
    }

    fn or(&mut self, depth: usize) -> Result<Expr, Wrong> {
        let mut left = self.and(depth)?;
        while self.keyword("or") {
            left = Expr::Or(Box::new(left), Box::new(self.and(depth)?));
        }
        Ok(left)
    }

    fn and(&mut self, depth: usize) -> Result<Expr, Wrong> {
        let mut left = self.not(depth)?;
        while self.keyword("and") {
            left = Expr::And(Box::new(left), Box::new(self.not(depth)?));
        }
        Ok(left)
    }

    fn not(&mut self, depth: usize) -> Result<Expr, Wrong> {
        if depth > DEPTH_MAX {
            return Err(Wrong::TooDeep { at: self.at() });
        }
        if self.keyword("not") {
            return Ok(Expr::Not(Box::new(self.not(depth + 1)?)));
        }
        if self.peek() != Some(&Token::Open) {
            return self.test();
        }
        self.next += 1;
        let inner = self.or(depth + 1)?;
        if self.peek() != Some(&Token::Close) {
            return self.wrong("expected `)`");
        }
        self.next += 1;
        Ok(inner)
    }

    /// One comparison: `SELECTOR OPERATOR VALUE` or `VALUE in SELECTOR`.
    fn test(&mut self) -> Result<Expr, Wrong> {
        let first = match self.peek() {
            Some(token @ (Token::Text(_) | Token::Word { .. })) => token.clone(),
            _ => return self.wrong("expected a selector or a value"),
        };
        self.next += 1;
        let negated = self.keyword("not");
        if self.keyword("in") {
            let selector = self.selector()?;
            return Ok(Expr::Match(Match { selector, test: Test::Contains(value_of(first)), negated }));
        }
        let Token::Word { path: selector, .. } = first else {
            return self.wrong("expected `in` or `not in` after a value");
        };
        if self.keyword("contains") {
            let test = Test::Contains(self.value()?);
            return Ok(Expr::Match(Match { selector, test, negated }));
        }
        if self.keyword("matches") {
            let test = self.pattern()?;
            return Ok(Expr::Match(Match { selector, test, negated }));
        }
        if negated {
            return self.wrong("expected `in`, `contains` or `matches`");
        }
        let (negated, test) = if self.keyword("is") {
            let negated = self.keyword("not");
            if !self.keyword("empty") {
                return self.wrong("expected `empty` or `not empty`");
            }
            (negated, Test::Empty)
        } else {
            match self.peek() {
                Some(Token::Equal) => (false, self.equals()?),
                Some(Token::NotEqual) => (true, self.equals()?),
                _ => return self.wrong("expected an operator"),
            }
        };
        Ok(Expr::Match(Match { selector, test, negated }))
    }

    fn equals(&mut self) -> Result<Test, Wrong> {
        self.next += 1;
        Ok(Test::Equals(self.value()?))
    }

    fn pattern(&mut self) -> Result<Test, Wrong> {
        let at = self.at();
        self.patterns += 1;
        if self.patterns > PATTERNS_MAX {
            return self.wrong(&format!("more than {PATTERNS_MAX} regular expressions"));
        }
        match pattern::compile_small(&self.value()?) {
            Ok(regex) => Ok(Test::Matches(Pattern(regex))),
            Err(what) => Err(Wrong::Here { at, what }),
        }
    }

    fn value(&mut self) -> Result<String, Wrong> {
        match self.peek() {
            Some(token @ (Token::Text(_) | Token::Word { .. })) => {
                let value = value_of(token.clone());
                self.next += 1;
                Ok(value)
            }
            _ => self.wrong("expected a value"),
        }
    }

    fn selector(&mut self) -> Result<Vec<String>, Wrong> {
        match self.peek() {
            Some(Token::Word { path, .. }) => {
                let path = path.clone();
                self.next += 1;
                Ok(path)
            }
            _ => self.wrong("expected a selector"),
        }
    }
}

fn value_of(token: Token) -> String {
    match token {
        Token::Text(text) => text,
        Token::Word { raw, .. } => raw,
        Token::Open | Token::Close | Token::Equal | Token::NotEqual => String::new(),
    }
}
