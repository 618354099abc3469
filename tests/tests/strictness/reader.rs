//! What a client's bytes mean to a reader that takes nothing but plain, strict HTTP/1 (RFC 9112).

/// A request, as a client meant it or as the upstream got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) host: String,
    pub(crate) fields: Vec<String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// Whether what arrived is what was meant. Targets are compared where they are in plain form; the normal form of the
    /// others is tested elsewhere.
    pub(crate) fn is_same_as(&self, meant: &Self) -> bool {
        let origin = meant
            .target
            .split_once("://")
            .map_or(meant.target.as_str(), |(_, rest)| rest.find(['/', '?']).map_or("", |at| &rest[at..]));
        let path = origin.split('?').next().unwrap_or_default();
        let is_plain = path.starts_with('/') && !["%", "//", "/.", "/;"].iter().any(|odd| path.contains(odd));
        let target_fits = if is_plain {
            self.target == origin
        } else {
            self.target == "*" || self.target.starts_with('/') && !has_dot_segment(&self.target)
        };
        self.method == meant.method && self.body == meant.body && self.host == meant.host && target_fits
    }
}

fn has_dot_segment(target: &str) -> bool {
    let path = target.split('?').next().unwrap_or_default().to_ascii_lowercase().replace("%2e", ".");
    path.split('/').any(|segment| matches!(segment.split(';').next(), Some("." | "..")))
}

/// What reading one message came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// A request, how many bytes it took, and whether another may follow.
    Whole(Box<Request>, usize, bool),
    /// More bytes are needed.
    Partial,
    /// No request.
    Bad(String),
}

/// The requests at the beginning of what a client sent.
pub(crate) fn requests(mut bytes: &[u8]) -> Vec<Request> {
    let mut found = Vec::new();
    loop {
        // One empty line before a request line is to be ignored (section 2.2).
        let rest = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
        let Read::Whole(request, len, persists) = read(rest) else { return found };
        found.push(*request);
        if !persists {
            return found;
        }
        bytes = &rest[len..];
    }
}

/// Reads one request.
pub(crate) fn read(bytes: &[u8]) -> Read {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Read::Partial };
    let Some(head) = Head::read(&bytes[..end]) else {
        return Read::Bad(String::from_utf8_lossy(&bytes[..end]).into_owned());
    };
    let rest = &bytes[end + 4..];
    let (body, len) = match &head.framing {
        Framing::Length(length) if (rest.len() as u64) < *length => return Read::Partial,
        Framing::Length(length) => (rest[..*length as usize].to_vec(), *length as usize),
        Framing::Chunked => match chunks(rest) {
            Ok(Some(read)) => read,
            Ok(None) => return Read::Partial,
            Err(fault) => return Read::Bad(fault),
        },
    };
    Read::Whole(Box::new(Request { body, ..head.request }), end + 4 + len, head.persists)
}

enum Framing {
    Length(u64),
    Chunked,
}

struct Head {
    request: Request,
    framing: Framing,
    persists: bool,
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

impl Head {
    fn read(bytes: &[u8]) -> Option<Self> {
        // Bytes above ASCII may stand in values; none of what is decided here depends on them.
        let text: String = bytes.iter().map(|&b| char::from(b)).collect();
        let mut lines = text.split("\r\n");
        let line: Vec<&str> = lines.next()?.split(' ').collect();
        let &[method, target, version] = line.as_slice() else { return None };
        let is_old = version == "HTTP/1.0";
        let plain = |b: u8| (0x21..0x7f).contains(&b) && b != b'#';
        if !is_token(method) || target.is_empty() || !target.bytes().all(plain) || !target.is_ascii() {
            return None;
        }
        if !is_old && version != "HTTP/1.1" {
            return None;
        }
        let fields: Vec<String> = lines.map(str::to_owned).collect();
        let mut values: Vec<(String, &str)> = Vec::new();
        for field in &fields {
            let (name, value) = field.split_once(':')?;
            let clean = value.chars().all(|c| c == '\t' || (c >= ' ' && c != '\u{7f}'));
            if !is_token(name) || !clean {
                return None;
            }
            values.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t'])));
        }
        let all = |wanted: &str| -> Vec<&str> {
            values.iter().filter(|(name, _)| name == wanted).map(|(_, value)| *value).collect()
        };
        let host = match (all("host").as_slice(), is_old) {
            (&[host], _) => host,
            (&[], true) => "",
            _ => return None,
        };
        let authority = target.split_once("://").map(|(_, rest)| rest.split(['/', '?']).next().unwrap_or(""));
        let framing = match (all("content-length").as_slice(), all("transfer-encoding").as_slice()) {
            (&[], &[]) => Framing::Length(0),
            (&[length], &[]) if !length.is_empty() && length.bytes().all(|b| b.is_ascii_digit()) => {
                Framing::Length(length.parse().ok()?)
            }
            (&[], &[coding]) if coding.eq_ignore_ascii_case("chunked") && !is_old => Framing::Chunked,
            _ => return None,
        };
        let options: Vec<String> = all("connection")
            .iter()
            .flat_map(|value| value.split(','))
            .map(|option| option.trim_matches([' ', '\t']).to_ascii_lowercase())
            .collect();
        let asks = |option: &str| options.iter().any(|found| found == option);
        let persists = !asks("close") && (!is_old || asks("keep-alive"));
        let request = Request {
            method: method.to_owned(),
            target: target.to_owned(),
            host: authority.unwrap_or(host).to_owned(),
            fields: fields.clone(),
            body: Vec::new(),
        };
        Some(Self { request, framing, persists })
    }
}

/// The final responses (to GET) at the beginning of what a client got: status and body. One that is cut off is left out.
pub(crate) fn responses(mut bytes: &[u8]) -> Result<Vec<(u16, Vec<u8>)>, String> {
    let mut found = Vec::new();
    while let Some(end) = find(bytes, b"\r\n\r\n") {
        let text: String = bytes[..end].iter().map(|&b| char::from(b)).collect();
        let bad = |what: &str| format!("{what}: {text:?}");
        let mut lines = text.split("\r\n");
        let line = lines.next().unwrap_or_default();
        let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse::<u16>().ok());
        let status = status.ok_or_else(|| bad("status line"))?;
        let (mut length, mut chunked) = (None, false);
        for line in lines {
            let (name, value) = line.split_once(':').ok_or_else(|| bad("no colon"))?;
            if !is_token(name) || value.chars().any(|c| c != '\t' && (c < ' ' || c == '\u{7f}')) {
                return Err(bad("field"));
            }
            let value = value.trim_matches([' ', '\t']);
            match name.to_ascii_lowercase().as_str() {
                "content-length" if length.is_none() => {
                    length = Some(value.parse::<u64>().map_err(|_| bad("length"))?);
                }
                "content-length" => return Err(bad("two lengths")),
                "transfer-encoding" if value == "chunked" && !chunked => chunked = true,
                "transfer-encoding" => return Err(bad("coding")),
                _ => {}
            }
        }
        let rest = &bytes[end + 4..];
        let (body, len) = match (status, length, chunked) {
            (_, Some(_), true) => return Err(bad("length and coding")),
            (100..200, ..) => {
                bytes = rest;
                continue;
            }
            (204 | 304, ..) => (Vec::new(), 0),
            (_, _, true) => match chunks(rest)? {
                Some(read) => read,
                None => return Ok(found),
            },
            (_, Some(length), _) if length > rest.len() as u64 => return Ok(found),
            (_, Some(length), _) => (rest[..length as usize].to_vec(), length as usize),
            (_, None, _) => return Err(bad("until close, to a client of HTTP/1.1")),
        };
        found.push((status, body));
        bytes = &rest[len..];
    }
    Ok(found)
}

/// The content of a chunked body, and how many bytes it took.
fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = line(&bytes[at..])? else { return Ok(None) };
        at += line.len() + 2;
        let size = line.split(|&b| b == b';').next().unwrap_or_default();
        let size = std::str::from_utf8(size).unwrap_or_default();
        if size.is_empty() || size.len() > 16 || !size.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("chunk size {size:?}"));
        }
        let size = u64::from_str_radix(size, 16).map_err(|fault| fault.to_string())?;
        if size == 0 {
            break;
        }
        let rest = &bytes[at..];
        if (rest.len() as u64) < size.saturating_add(2) {
            return Ok(None);
        }
        let size = size as usize;
        if &rest[size..size + 2] != b"\r\n" {
            return Err("chunk end".to_owned());
        }
        body.extend_from_slice(&rest[..size]);
        at += size + 2;
    }
    loop {
        let Some(line) = line(&bytes[at..])? else { return Ok(None) };
        at += line.len() + 2;
        if line.is_empty() {
            return Ok(Some((body, at)));
        }
        let name = line.split(|&b| b == b':').next().unwrap_or_default();
        if name.len() == line.len() || !is_token(&String::from_utf8_lossy(name)) {
            return Err("trailer".to_owned());
        }
    }
}

/// A line up to CR LF; no other control character but HTAB may stand in it.
fn line(bytes: &[u8]) -> Result<Option<&[u8]>, String> {
    let end = bytes.iter().position(|&b| b < b' ' && b != b'\t' || b == 0x7f);
    match end.map(|end| (end, &bytes[end..])) {
        None | Some((_, b"\r")) => Ok(None),
        Some((end, [b'\r', b'\n', ..])) => Ok(Some(&bytes[..end])),
        Some((_, rest)) => Err(format!("control byte {:#x} in a line", rest[0])),
    }
}

pub(crate) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
