//! Logging: to standard error, so that standard output is left to answers.

use tracing::level_filters::{LevelFilter, STATIC_MAX_LEVEL};
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
    EnvFilter::try_new(attainable(level, STATIC_MAX_LEVEL)).map_err(|_| bad())
}

/// Released builds hold nothing finer than `debug`. Who asks for more gets all there is, not a warning beside the log.
fn attainable(filter: &str, finest: LevelFilter) -> String {
    if finest == LevelFilter::TRACE {
        return filter.to_owned();
    }
    let directives = filter.split(',').map(|directive| {
        let (target, level) = directive.rsplit_once('=').unwrap_or(("", directive));
        match level.trim().parse::<LevelFilter>() {
            _ if level.trim().is_empty() => directive.to_owned(),
            Ok(level) if target.is_empty() => level.min(finest).to_string(),
            Ok(level) => format!("{target}={}", level.min(finest)),
            // A target alone means all of it.
            Err(_) if target.is_empty() => format!("{directive}={finest}"),
            Err(_) => directive.to_owned(),
        }
    });
    directives.collect::<Vec<_>>().join(",")
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

    #[test]
    fn what_a_build_does_not_hold_is_not_asked_of_it() {
        for (asked, got) in [
            ("trace", "debug"),
            ("INFO", "info"),
            ("warn,weir_edge=trace, weir_store=warn", "warn,weir_edge=debug, weir_store=warn"),
            ("warn,weir_edge", "warn,weir_edge=debug"),
            ("warn,weir_edge=loud", "warn,weir_edge=loud"),
            ("warn,", "warn,"),
        ] {
            assert_eq!(attainable(asked, LevelFilter::DEBUG), got);
            assert_eq!(attainable(asked, LevelFilter::TRACE), asked);
            let parses = EnvFilter::try_new(asked).is_ok();
            assert_eq!(EnvFilter::try_new(attainable(asked, LevelFilter::DEBUG)).is_ok(), parses, "{asked}");
        }
    }
}
