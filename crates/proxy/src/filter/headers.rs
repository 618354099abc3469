//! Changes of header fields, put together once: which lines go, and which lines come.

use weir_http1::{FieldLines, FieldName, is_field_value};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderOp<'a> {
    /// The field has this value and no other.
    Set(&'a str, &'a str),
    /// The field has this value as well.
    Add(&'a str, &'a str),
    /// The field goes.
    Remove(&'a str),
}

/// Changes of a head, to be made while it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderChange {
    /// Names of fields whose lines go, in lower case.
    dropped: Box<[Box<[u8]>]>,
    /// Lines that come.
    lines: FieldLines,
    /// Those of them that an answer of the proxy itself can carry beside its own.
    answer_lines: FieldLines,
    /// The same for people.
    described: Box<[Box<str>]>,
}

/// Fields that belong to a connection, to the framing of a message, or to Weir: nobody may change them. `Host` is changed
/// by a rewrite.
const FIXED: [&str; 14] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-weir-",
];

/// Fields that the proxy's own answers write.
const OWN: [&str; 5] = ["content-type", "location", "allow", "retry-after", "vary"];

/// Whether filters may change a field of this name, and what is wrong if not.
pub fn may_change(name: &str) -> Result<(), String> {
    if FieldName::new(name.as_bytes()).is_none() {
        return Err(format!("`{name}` is not a name of a header field"));
    }
    let folded = name.to_ascii_lowercase().replace('_', "-");
    match FIXED
        .iter()
        .find(|fixed| folded == **fixed || (fixed.ends_with('-') && folded.starts_with(**fixed)))
    {
        Some(&"host") => Err("`Host` is changed by a `URLRewrite` filter's `hostname`".to_owned()),
        Some(_) => Err(format!("`{name}` belongs to the connection or to the proxy, and cannot be changed")),
        None => Ok(()),
    }
}

/// A field with what becomes of it.
struct Field<'a> {
    folded: String,
    dropped: bool,
    values: Vec<(&'a str, &'a str)>,
}

impl HeaderChange {
    /// Puts changes together that are made one after the other. Nothing when there are none.
    ///
    /// # Errors
    /// The index of the change that cannot be made, and why.
    pub fn new<'a>(ops: impl IntoIterator<Item = HeaderOp<'a>>) -> Result<Option<Self>, (usize, String)> {
        let mut fields: Vec<Field<'a>> = Vec::new();
        for (index, op) in ops.into_iter().enumerate() {
            let (HeaderOp::Set(name, _) | HeaderOp::Add(name, _) | HeaderOp::Remove(name)) = op;
            may_change(name).map_err(|why| (index, why))?;
            if let HeaderOp::Set(_, value) | HeaderOp::Add(_, value) = op
                && !is_field_value(value.as_bytes())
            {
                return Err((index, format!("the value of `{name}` holds control characters")));
            }
            let folded = name.to_ascii_lowercase();
            let at = fields.iter().position(|field| field.folded == folded).unwrap_or_else(|| {
                fields.push(Field { folded, dropped: false, values: Vec::new() });
                fields.len() - 1
            });
            let field = &mut fields[at];
            match op {
                HeaderOp::Add(name, value) => field.values.push((name, value.trim_matches([' ', '\t']))),
                HeaderOp::Set(name, value) => {
                    field.dropped = true;
                    field.values = vec![(name, value.trim_matches([' ', '\t']))];
                }
                HeaderOp::Remove(_) => {
                    field.dropped = true;
                    field.values.clear();
                }
            }
        }
        Ok((!fields.is_empty()).then(|| Self::of(&fields)))
    }

    fn of(fields: &[Field<'_>]) -> Self {
        let (mut lines, mut answer_lines) = (FieldLines::new(), FieldLines::new());
        let mut described = Vec::new();
        for field in fields {
            if field.values.is_empty() {
                described.push(format!("remove {}", field.folded).into());
            }
            for (name, value) in &field.values {
                let Some(checked) = FieldName::new(name.as_bytes()) else { continue };
                // Both were checked: it cannot fail.
                let _ = lines.push(checked, value.as_bytes());
                if !OWN.contains(&&*field.folded) {
                    let _ = answer_lines.push(checked, value.as_bytes());
                }
                let verb = if field.dropped { "set" } else { "add" };
                described.push(format!("{verb} {name}: {value}").into());
            }
        }
        let dropped = fields.iter().filter(|field| field.dropped).map(|field| field.folded.as_bytes().into());
        Self { dropped: dropped.collect(), lines, answer_lines, described: described.into() }
    }

    /// Whether lines of a field with this name go.
    #[inline]
    pub fn drops(&self, name: &[u8]) -> bool {
        self.dropped.iter().any(|dropped| dropped.len() == name.len() && dropped.eq_ignore_ascii_case(name))
    }

    /// The lines that come.
    pub fn lines(&self) -> &FieldLines {
        &self.lines
    }

    /// The lines that come with an answer of the proxy itself.
    pub fn answer_lines(&self) -> &FieldLines {
        &self.answer_lines
    }

    /// What it does, for people.
    pub fn described(&self) -> &[Box<str>] {
        &self.described
    }
}

#[cfg(test)]
mod tests {
    use super::HeaderOp::{Add, Remove, Set};
    use super::*;

    fn change(ops: &[HeaderOp<'_>]) -> (Vec<String>, String) {
        let change = HeaderChange::new(ops.iter().cloned()).unwrap().unwrap();
        let dropped = change.dropped.iter().map(|name| String::from_utf8_lossy(name).into_owned());
        (dropped.collect(), String::from_utf8_lossy(change.lines.as_bytes()).replace("\r\n", "|"))
    }

    #[test]
    fn changes_are_made_one_after_the_other() {
        let check = |ops: &[HeaderOp<'_>], dropped: &[&str], lines: &str| {
            let (found, written) = change(ops);
            assert_eq!(
                (found.iter().map(String::as_str).collect::<Vec<_>>(), &*written),
                (dropped.to_vec(), lines)
            );
        };
        check(&[Set("X-A", "1")], &["x-a"], "X-A: 1|");
        check(&[Add("X-A", "1")], &[], "X-A: 1|");
        check(&[Remove("X-A")], &["x-a"], "");
        check(&[Add("X-A", "1"), Add("x-a", "2")], &[], "X-A: 1|x-a: 2|");
        check(&[Set("X-A", "1"), Add("x-a", "2")], &["x-a"], "X-A: 1|x-a: 2|");
        check(&[Add("X-A", "1"), Set("x-a", "2")], &["x-a"], "x-a: 2|");
        check(&[Set("X-A", "1"), Remove("x-a")], &["x-a"], "");
        check(&[Remove("X-A"), Add("x-a", " 2 ")], &["x-a"], "x-a: 2|");
        check(&[Set("a", "1"), Remove("b"), Add("c", "")], &["a", "b"], "a: 1|c: |");
        assert_eq!(HeaderChange::new([]), Ok(None));
    }

    #[test]
    fn names_are_compared_without_case() {
        let change = HeaderChange::new([Remove("X-Gone")]).unwrap().unwrap();
        assert!(change.drops(b"x-gone") && change.drops(b"X-GONE"));
        assert!(!change.drops(b"x-gon") && !change.drops(b"x-gone2"));
    }

    #[test]
    fn what_belongs_to_the_connection_or_the_proxy_stays() {
        for name in [
            "Connection",
            "content-length",
            "Transfer-Encoding",
            "TE",
            "upgrade",
            "X-Weir-Reason",
            "transfer_encoding",
        ] {
            assert!(may_change(name).unwrap_err().contains("belongs to"), "{name}");
        }
        assert!(may_change("host").unwrap_err().contains("URLRewrite"));
        assert!(may_change("a b").unwrap_err().contains("is not a name"));
        assert!(may_change("").is_err());
        for name in ["x-forwarded-proto", "Authorization", "Set-Cookie", "server", "hosts"] {
            assert_eq!(may_change(name), Ok(()), "{name}");
        }
        assert_eq!(HeaderChange::new([Set("a", "1"), Remove("te")]).unwrap_err().0, 1);
        assert!(HeaderChange::new([Set("a", "1\r\nb: 2")]).is_err());
    }

    #[test]
    fn the_proxys_own_answers_keep_what_they_say_themselves() {
        let change = HeaderChange::new([Set("Content-Type", "a"), Set("x", "1")]).unwrap().unwrap();
        assert_eq!(change.answer_lines().as_bytes(), b"x: 1\r\n");
        assert_eq!(change.described(), [Box::from("set Content-Type: a"), "set x: 1".into()]);
    }
}
