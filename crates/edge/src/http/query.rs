//! The query of a request: names with values, in order, bounded.

use super::percent::{self, BadEncoding};

/// Most parameters a query may have; more are refused.
pub const QUERY_PARAMETERS_MAX: usize = 256;

/// What is wrong with a query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// A name or value is not valid percent-encoding.
    #[error(transparent)]
    Encoding(#[from] BadEncoding),
    /// More parameters than [`QUERY_PARAMETERS_MAX`].
    #[error("more than {QUERY_PARAMETERS_MAX} query parameters")]
    TooMany,
}

/// The decoded parameters of a query. Names are case-sensitive; a name without `=` has an empty value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the part of a URL after `?`.
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        let mut pairs = Vec::new();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            if pairs.len() == QUERY_PARAMETERS_MAX {
                return Err(QueryError::TooMany);
            }
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            pairs.push((
                percent::decode_query(name)?.into_owned(),
                percent::decode_query(value)?.into_owned(),
            ));
        }
        Ok(Self(pairs))
    }

    /// The first value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The first value of a parameter, unless it is empty.
    pub fn get_filled(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Whether a parameter is there, with or without a value.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// The names, in order; a repeated one as often as it is there.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Names with values, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// All values of a parameter, in order.
    pub fn all<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a str> + use<'a, 'n> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_bare_and_repeated_parameters() {
        let query = Query::parse("passing&tag=a&tag=b%20c&dc=&&index=0").unwrap();
        assert!(query.has("passing"));
        assert_eq!(query.get("passing"), Some(""));
        assert_eq!(query.all("tag").collect::<Vec<_>>(), ["a", "b c"]);
        assert_eq!(query.get_filled("dc"), None);
        assert_eq!(query.get("index"), Some("0"));
        assert!(!query.has("stale"));
        assert_eq!(query.names().collect::<Vec<_>>(), ["passing", "tag", "tag", "dc", "index"]);
    }

    #[test]
    fn is_bounded() {
        assert_eq!(Query::parse(&"a&".repeat(QUERY_PARAMETERS_MAX + 1)), Err(QueryError::TooMany));
        assert!(Query::parse("a=%f").is_err());
    }
}
