//! What a request says, as far as policies ask for it: the key of a limit, the hash of a balancer, the level of importance.

use weir_model::resource::key::{KeyKind, KeyPart};
use weir_policy::balance::hash;

use crate::scenario::{Clients, Field, Values};
use crate::world::FIELDS_MAX;

/// A request. Fields that differ by request have the number of a value, which is its text as well: `x-user: 17`.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) clients: &'a Clients,
    pub(crate) values: &'a [u32; FIELDS_MAX],
}

/// What separates the parts of a key; no part holds it.
const BETWEEN: u8 = 0;

impl Asked<'_> {
    /// Writes what requests are told apart by.
    pub(crate) fn key(&self, parts: &[KeyPart], key: &mut Vec<u8>) {
        key.clear();
        for part in parts {
            self.part(part, key);
            key.push(BETWEEN);
        }
    }

    /// What a consistent hash is taken of: the first part that the request has.
    pub(crate) fn hash(&self, parts: &[KeyPart], key: &mut Vec<u8>) -> Option<u64> {
        parts.iter().find_map(|part| {
            key.clear();
            self.part(part, key).then(|| hash::bytes(key))
        })
    }

    /// How important it is: the index of its value among the levels, the last one if it is none of them.
    pub(crate) fn level(&self, header: &str, levels: &[String]) -> u8 {
        let mut value = Vec::new();
        self.header(header, &mut value);
        let found = levels.iter().position(|level| level.as_bytes() == value);
        found.unwrap_or(levels.len().saturating_sub(1)) as u8
    }

    /// Adds a part's value, if the request has one.
    fn part(&self, part: &KeyPart, key: &mut Vec<u8>) -> bool {
        let request = &self.clients.request;
        match part.kind {
            KeyKind::Header | KeyKind::Cookie | KeyKind::Query => {
                return self.header(part.name.as_deref().unwrap_or_default(), key);
            }
            KeyKind::Path => key.extend(request.path.as_deref().unwrap_or("/").as_bytes()),
            KeyKind::Method => key.extend(request.method.as_deref().unwrap_or("GET").as_bytes()),
            KeyKind::Caller | KeyKind::SourceAddress => key.extend(self.clients.name.as_bytes()),
            KeyKind::Host | KeyKind::Route => {}
        }
        true
    }

    /// Adds a field's value, if the request has it. Cookies and parameters are fields here too.
    fn header(&self, name: &str, key: &mut Vec<u8>) -> bool {
        let mut differing = 0;
        for field in &self.clients.request.headers {
            let number = field.values.is_some().then(|| self.values[differing]);
            differing += usize::from(field.values.is_some());
            if field.name.eq_ignore_ascii_case(name) {
                value(field, number, key);
                return true;
            }
        }
        false
    }
}

fn value(field: &Field, number: Option<u32>, key: &mut Vec<u8>) {
    match (&field.values, number) {
        (Some(Values::OneOf(list)), Some(number)) => {
            key.extend(list[number as usize % list.len()].as_bytes());
        }
        (_, Some(number)) => {
            let mut digits = [0u8; 10];
            let mut at = digits.len();
            let mut rest = number;
            loop {
                at -= 1;
                digits[at] = b'0' + (rest % 10) as u8;
                rest /= 10;
                if rest == 0 {
                    break;
                }
            }
            key.extend(&digits[at..]);
        }
        (_, None) => key.extend(field.value.as_deref().unwrap_or_default().as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Request;

    #[test]
    fn keys_and_hashes_are_of_what_the_request_says() {
        let field = |name: &str, value: Option<&str>, values| Field {
            name: name.to_owned(),
            value: value.map(str::to_owned),
            values,
        };
        let request = Request {
            path: Some("/cart".to_owned()),
            headers: vec![
                field("x-tenant", Some("a"), None),
                field("x-user", None, Some(Values::Uniform(1000))),
                field("x-class", None, Some(Values::OneOf(vec!["gold".to_owned(), "basic".to_owned()]))),
            ],
            ..Request::default()
        };
        let clients = Clients {
            name: "web".to_owned(),
            service: None,
            proxies: None,
            zone: None,
            arrivals: None,
            closed: None,
            timeout: None,
            retry: None,
            request,
        };
        let asked = Asked { clients: &clients, values: &[407, 1, 0, 0] };
        let part = |kind, name: Option<&str>| KeyPart { kind, name: name.map(str::to_owned) };
        let mut key = Vec::new();
        let parts = [
            part(KeyKind::Header, Some("X-User")),
            part(KeyKind::Caller, None),
            part(KeyKind::Path, None),
            part(KeyKind::Header, Some("x-none")),
        ];
        asked.key(&parts, &mut key);
        assert_eq!(key, b"407\0web\0/cart\0\0");
        let hash = asked.hash(&[part(KeyKind::Header, Some("x-none")), parts[0].clone()], &mut key);
        assert_eq!(hash, Some(hash::bytes(b"407")));
        assert_eq!(asked.hash(&[part(KeyKind::Header, Some("x-none"))], &mut key), None);
        let levels = ["gold", "silver", "basic"].map(str::to_owned);
        assert_eq!((asked.level("x-class", &levels), asked.level("x-none", &levels)), (2, 2));
    }
}
