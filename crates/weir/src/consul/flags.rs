//! Flags as Go's `flag` package reads them: `-name value`, `-name=value`, with one dash or two; a switch stands alone or
//! with `=true`. Flags end at the first word that is none, or at `--`. What stands behind them is counted: a word that
//! nobody would read is refused. Pure.

use crate::exit::{Exit, Failure};

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing, or `=true` and `=false`.
    Switch,
    /// A value.
    Value,
}

/// How many words may stand behind the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Words {
    /// At most so many.
    UpTo(usize),
    /// As many as there are.
    Any,
}

/// A flag by its name.
pub(super) type Flag = (&'static str, Takes);

/// What a command line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// The flags with their values, in order; of a switch `true` or `false`.
    pub flags: Vec<(&'static str, String)>,
    /// What comes behind them.
    pub rest: Vec<String>,
}

impl Said {
    /// The last value of a flag.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).last()
    }

    /// All values of a flag, in order.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.flags.iter().filter(move |(flag, _)| *flag == name).map(|(_, value)| &**value)
    }

    /// A word that a command needs.
    ///
    /// # Errors
    /// When it is missing; `name` is what it is called in the help.
    pub(super) fn word(&self, at: usize, name: &str) -> Result<&str, Failure> {
        let word = self.rest.get(at).map(String::as_str);
        word.ok_or_else(|| Failure::new(Exit::Usage, format!("Missing {name} argument")))
    }

    /// Whether a switch is on.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }
}

/// Reads a command line. `known` are the flags there are, by several lists.
///
/// # Errors
/// For a flag that is not there, for one without its value, and for more words behind them than the command takes.
pub(super) fn read(args: &[String], known: &[&[Flag]], words: Words) -> Result<Said, Failure> {
    let mut said = Said::default();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let Some(flag) = arg.strip_prefix('-').filter(|flag| !flag.is_empty()) else {
            said.rest.push(arg.clone());
            break;
        };
        let flag = flag.strip_prefix('-').unwrap_or(flag);
        if flag.is_empty() {
            break;
        }
        let (name, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        let all = || known.iter().flat_map(|list| list.iter());
        let Some((name, takes)) = all().find(|(known, _)| *known == name) else {
            let names = all().map(|(name, _)| *name);
            return Err(unknown(name, weir_model::document::nearest(name, names)));
        };
        let value = match (takes, value) {
            (Takes::Switch, None) => "true".to_owned(),
            (Takes::Switch, Some(value)) => switch(name, &value)?.to_string(),
            (Takes::Value, Some(value)) => value,
            (Takes::Value, None) => args
                .next()
                .cloned()
                .ok_or_else(|| Failure::new(Exit::Usage, format!("flag -{name} needs a value")))?,
        };
        said.flags.push((name, value));
    }
    said.rest.extend(args.cloned());
    counted(&said.rest, words)?;
    Ok(said)
}

/// Refuses the first word that the command does not take.
fn counted(rest: &[String], words: Words) -> Result<(), Failure> {
    let Words::UpTo(most) = words else { return Ok(()) };
    let Some(extra) = rest.get(most) else { return Ok(()) };
    let expected = if most == 2 { "1 or 2".to_owned() } else { most.to_string() };
    let message = format!("Too many arguments (expected {expected}, got {}): `{extra}`", rest.len());
    let failure = Failure::new(Exit::Usage, message);
    Err(if extra.starts_with('-') { failure.hint("flags stand before the arguments") } else { failure })
}

fn unknown(name: &str, nearest: Option<&str>) -> Failure {
    let failure =
        Failure::new(Exit::Usage, format!("flag -{name} is not one of Consul's that weir understands"));
    match nearest {
        Some(nearest) => failure.hint(format!("did you mean -{nearest}?")),
        None => failure,
    }
}

fn switch(name: &str, value: &str) -> Result<bool, Failure> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Failure::new(Exit::Usage, format!("flag -{name}: `{value}` is neither true nor false"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[Flag] = &[("dev", Takes::Switch), ("http-port", Takes::Value), ("node", Takes::Value)];

    fn said(args: &[&str]) -> Result<Said, String> {
        let args: Vec<_> = args.iter().map(|arg| (*arg).to_owned()).collect();
        read(&args, &[KNOWN], Words::UpTo(2)).map_err(|failure| failure.to_string())
    }

    #[test]
    fn flags_are_read_as_go_reads_them() {
        let said = |args: &[&str]| said(args).unwrap();
        for args in [
            &["-dev", "-http-port", "1", "key"][..],
            &["--dev", "--http-port=1", "key"],
            &["-dev=true", "-http-port=1", "--", "key"],
            &["-http-port=2", "-dev=0", "-dev=1", "-http-port", "1", "key"],
        ] {
            let said = said(args);
            assert_eq!((said.is_on("dev"), said.get("http-port")), (true, Some("1")), "{args:?}");
            assert_eq!(said.rest, ["key"], "{args:?}");
        }
        assert!(!said(&["-dev=false"]).is_on("dev"));
        assert_eq!(said(&["key", "-dev"]).rest, ["key", "-dev"], "flags come first");
        assert_eq!(said(&["-node", "-dev"]).get("node"), Some("-dev"), "a value is a value");
        assert_eq!(said(&["-", "x"]).rest, ["-", "x"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (args, says) in [
            (&["-http-prt", "1"][..], "did you mean -http-port?"),
            (&["-zzzzzzzz"], "flag -zzzzzzzz is not one of Consul's"),
            (&["-node"], "flag -node needs a value"),
            (&["-dev=maybe"], "flag -dev: `maybe` is neither true nor false"),
            (&["a", "b", "c"], "Too many arguments (expected 1 or 2, got 3): `c`"),
            (&["--", "a", "b", "-c"], "got 3): `-c`\ntry: flags stand before the arguments"),
        ] {
            let error = said(args).unwrap_err();
            assert!(error.contains(says), "{args:?}: {error}");
        }
    }

    #[test]
    fn words_are_counted() {
        let args = |count: usize| vec!["a".to_owned(); count];
        for (words, count, is_taken) in [
            (Words::UpTo(0), 0, true),
            (Words::UpTo(0), 1, false),
            (Words::UpTo(1), 1, true),
            (Words::UpTo(1), 2, false),
            (Words::Any, 9, true),
        ] {
            assert_eq!(read(&args(count), &[KNOWN], words).is_ok(), is_taken, "{words:?} {count}");
        }
        let said = read(&args(1), &[KNOWN], Words::UpTo(2)).unwrap();
        assert_eq!(said.word(0, "KEY").unwrap(), "a");
        let missing = said.word(1, "VALUE").unwrap_err();
        assert_eq!((missing.exit, &*missing.message), (Exit::Usage, "Missing VALUE argument"));
    }
}
