//! Templates: one prepared query that stands for all names with a beginning.
//!
//! In every text of its `Service`, `${name.full}`, `${name.prefix}`, `${name.suffix}` and `${match(N)}` are replaced by the
//! name that was asked for, by parts of it, or by what a group of `Template.Regexp` matched in it; `$${` stands for `${`.

use std::sync::LazyLock;

use regex::Regex;

use super::definition::{Definition, Service};
use crate::consul::pattern::{self, Patterns};
use crate::consul::refusal::Refusal;

/// Longest text after replacing, in bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// The expressions of templates, which DNS and HTTP ask for again and again.
static PATTERNS: LazyLock<Patterns> = LazyLock::new(Patterns::default);

/// Refuses a template with an expression or a text that cannot be read.
pub(super) fn check(definition: &Definition) -> Result<(), Refusal> {
    let text = &definition.template.regexp;
    let regexp = (!text.is_empty()).then(|| pattern::compile(text)).transpose();
    let regexp = regexp.map_err(|error| Refusal::bad(format!("Bad Regexp: {error}")))?;
    let mut service = definition.service.clone();
    let filler = Filler { full: "name", prefix: &definition.name, regexp: regexp.as_ref() };
    for_each_text(&mut service, |path, text| match filler.fill(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(Refusal::bad(format!("Bad format '{text}' in Service.{path}: {error}"))),
    })
}

/// The query that a template makes of a name; `None` if it cannot be read any more.
pub(super) fn render(definition: &Definition, name: &str) -> Option<Definition> {
    let text = &definition.template.regexp;
    let regexp = if text.is_empty() { None } else { Some(PATTERNS.get(text)?) };
    let filler = Filler { full: name, prefix: &definition.name, regexp: regexp.as_deref() };
    let mut rendered = definition.clone();
    for_each_text(&mut rendered.service, |_, text| {
        *text = filler.fill(text)?;
        Ok::<(), String>(())
    })
    .ok()?;
    if definition.template.remove_empty_tags {
        rendered.service.tags.retain(|tag| !tag.is_empty());
    }
    Some(rendered)
}

fn for_each_text<E>(
    service: &mut Service,
    mut each: impl FnMut(&str, &mut String) -> Result<(), E>,
) -> Result<(), E> {
    each("Service", &mut service.service)?;
    each("Near", &mut service.near)?;
    service.tags.iter_mut().try_for_each(|tag| each("Tags", tag))?;
    service.ignore_check_ids.iter_mut().try_for_each(|id| each("IgnoreCheckIDs", id))?;
    service.failover.datacenters.iter_mut().try_for_each(|name| each("Failover.Datacenters", name))?;
    service.node_meta.values_mut().try_for_each(|value| each("NodeMeta", value))?;
    service.service_meta.values_mut().try_for_each(|value| each("ServiceMeta", value))
}

struct Filler<'a> {
    full: &'a str,
    prefix: &'a str,
    regexp: Option<&'a Regex>,
}

impl Filler<'_> {
    fn fill(&self, text: &str) -> Result<String, String> {
        let mut filled = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            if rest[..at].ends_with('$') {
                filled.push_str(&rest[..at]);
                filled.push('{');
                rest = &rest[at + 2..];
                continue;
            }
            filled.push_str(&rest[..at]);
            let Some(end) = rest[at..].find('}') else { return Err("`${` without `}`".to_owned()) };
            filled.push_str(self.value(rest[at + 2..at + end].trim())?);
            rest = &rest[at + end + 1..];
            if filled.len() > TEXT_BYTES_MAX {
                return Err(format!("expected at most {TEXT_BYTES_MAX} bytes"));
            }
        }
        filled.push_str(rest);
        Ok(filled)
    }

    fn value(&self, variable: &str) -> Result<&str, String> {
        let group = variable.strip_prefix("match(").and_then(|rest| rest.strip_suffix(')'));
        if let Some(number) = group {
            let number: usize =
                number.trim().parse().map_err(|_| format!("`{number}` is not the number of a group"))?;
            let found = self.regexp.and_then(|regexp| regexp.captures(self.full)?.get(number));
            return Ok(found.map_or("", |group| group.as_str()));
        }
        match variable {
            "name.full" => Ok(self.full),
            "name.prefix" => Ok(self.prefix),
            "name.suffix" => Ok(self.full.strip_prefix(self.prefix).unwrap_or_default()),
            // There are no network segments: it is the one that has no name.
            "agent.segment" => Ok(""),
            _ => Err(format!(
                "unknown variable `{variable}`; expected name.full, name.prefix, name.suffix, match(N) or agent.segment"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str) -> Result<String, String> {
        let regexp = Regex::new("^geo-db-(.*?)-([^-]+?)$").unwrap();
        Filler { full: "geo-db-customer-primary", prefix: "geo-db", regexp: Some(&regexp) }.fill(text)
    }

    #[test]
    fn names_and_groups_are_put_in() {
        for (text, expect) in [
            ("plain", "plain"),
            ("", ""),
            ("${name.full}", "geo-db-customer-primary"),
            ("mysql-${match(1)}-${ match(2) }", "mysql-customer-primary"),
            ("${name.prefix}|${name.suffix}", "geo-db|-customer-primary"),
            ("${match(7)}${agent.segment}", ""),
            ("a$${name.full}", "a${name.full}"),
            ("5$ {", "5$ {"),
        ] {
            assert_eq!(fill(text).as_deref(), Ok(expect), "{text}");
        }
        for (text, part) in [
            ("${name.full", "without"),
            ("${nothing}", "unknown variable `nothing`"),
            ("${match(x)}", "`x` is not the number of a group"),
            (&"${name.full}".repeat(400), "at most 4096 bytes"),
        ] {
            assert!(fill(text).unwrap_err().contains(part), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_filled_or_refused(text in r"(\$|\{|\}|\$\{|name\.full|match\(|[0-9)]|é){0,12}") {
            let _ = fill(&text);
        }
    }
}
