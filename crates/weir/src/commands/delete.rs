//! `weir delete`: deletes declared documents, by name or all that stand in files.

use http::Method;
use weir_api::client::encode_segment;
use weir_api::native::{Deleted, PREFIX, SOURCES_TYPE, Sources};
use weir_model::{DEFAULT_NAMESPACE, Kind};

use crate::cli::operator::DeleteArgs;
use crate::exit::{Exit, Failure};
use crate::{output, server_client, sources};

pub(super) async fn run(args: &DeleteArgs) -> Result<Exit, Failure> {
    let client = server_client::client(&args.server)?;
    let deleted: Deleted = if let Some(kind) = &args.kind {
        let name = args.name.as_ref().ok_or_else(|| nameless(kind))?;
        let kind = parse_kind(kind)?;
        let namespace = args.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
        let path = format!(
            "{PREFIX}/resources/{kind}/{}?namespace={}",
            encode_segment(name),
            encode_segment(namespace)
        );
        client.delete(&path).await
    } else {
        let sources = Sources { sources: sources::read(&args.files)? };
        client.send_json(Method::POST, &format!("{PREFIX}/delete"), SOURCES_TYPE, &sources).await
    }
    .map_err(|error| match server_client::failure(&error) {
        // What stands in files is at fault, and not the command line.
        failure if failure.exit == Exit::Usage && !args.files.is_empty() => {
            Failure { exit: Exit::Invalid, ..failure }
        }
        failure => failure,
    })?;
    for name in &deleted.deleted {
        output::print(&format!("{name} deleted\n"));
    }
    Ok(Exit::Done)
}

/// What is wrong where one word is given: perhaps the two are written as they are shown.
fn nameless(kind: &str) -> Failure {
    let failure = Failure::new(Exit::Usage, format!("`{kind}` says a kind and no name"));
    match kind.split_once('/') {
        Some((kind, name)) if kind.parse::<Kind>().is_ok() && !name.is_empty() => {
            let message = format!("`{kind}/{name}` is one word; a kind and a name are expected");
            Failure::new(Exit::Usage, message).hint(format!("weir delete {kind} {name}"))
        }
        _ => failure.hint(format!("weir delete {kind} NAME")),
    }
}

/// Reads a kind as operators type it.
pub(super) fn parse_kind(text: &str) -> Result<Kind, Failure> {
    text.parse().map_err(|_| {
        let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
        let failure = Failure::new(
            Exit::Usage,
            format!("`{text}` is not a kind of document; expected one of {}", names.join(", ")),
        );
        match weir_model::document::nearest(text, names) {
            Some(nearest) => failure.hint(nearest),
            None => failure,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_and_typing_errors_are_helped() {
        assert_eq!(parse_kind("httproutes").unwrap(), Kind::HttpRoute);
        let failure = parse_kind("HTTPRoot").unwrap_err();
        assert_eq!((failure.exit, failure.hint.as_deref()), (Exit::Usage, Some("HTTPRoute")));
    }

    #[test]
    fn a_kind_and_a_name_in_one_word_are_told_apart() {
        let hint = |word: &str| nameless(word).hint.unwrap();
        assert_eq!(hint("HTTPRoute/web-doc"), "weir delete HTTPRoute web-doc");
        assert_eq!(hint("HTTPRoute"), "weir delete HTTPRoute NAME");
    }
}
