//! Logging: to standard error, so that standard output is left to answers.

use tracing_subscriber::EnvFilter;

use crate::cli::roles::{LogArgs, LogFormat};
use crate::exit::{Exit, Failure};

/// The level when nobody says otherwise.
pub(crate) const DEFAULT_LEVEL: &str = "info";

/// Starts logging as told.
///
/// # Errors
/// When the level is neither a level nor a filter.
pub(crate) fn start(args: &LogArgs) -> Result<(), Failure> {
    let level = args
        .log_level
        .clone()
        .or_else(|| std::env::var("WEIR_LOG").ok().filter(|level| !level.is_empty()))
        .unwrap_or_else(|| DEFAULT_LEVEL.to_owned());
    let filter = parse_filter(&level)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match args.log_format.unwrap_or(LogFormat::Text) {
        LogFormat::Text => {
            let colour = std::io::IsTerminal::is_terminal(&std::io::stderr())
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            builder.with_ansi(colour).with_target(false).try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| Failure::new(Exit::Failed, format!("cannot start logging: {error}")))
}

fn parse_filter(level: &str) -> Result<EnvFilter, Failure> {
    let known = ["error", "warn", "info", "debug", "trace", "off"];
    // A bare word that is no level would be read as the name of a module, and silence everything.
    let is_filter = level.contains(['=', ',']);
    let bad = || {
        Failure::new(Exit::Usage, format!("`{level}` is not a log level"))
            .hint("error, warn, info, debug or trace; or a filter such as `warn,weir_edge=debug`")
    };
    if !is_filter && !known.contains(&level.to_ascii_lowercase().as_str()) {
        return Err(bad());
    }
    EnvFilter::try_new(level).map_err(|_| bad())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_filters_are_told_from_typing_errors() {
        for good in ["info", "DEBUG", "warn,weir_edge=debug"] {
            assert!(parse_filter(good).is_ok(), "{good}");
        }
        for bad in ["inof", "", "weir_edge=loud"] {
            assert!(parse_filter(bad).unwrap_err().to_string().contains("not a log level"), "{bad}");
        }
    }
}
