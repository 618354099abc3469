//! A second reading of chunked bodies, as plain as can be: whole lines, no states, quadratic where that is simpler. It shares no
//! code with the decoder, so that both agree only where both are right.

use crate::Limits;

#[derive(Debug)]
pub(super) enum Verdict {
    Complete {
        content: Vec<u8>,
        used: usize,
    },
    /// Fine so far; the content up to the end of the input.
    Incomplete(Vec<u8>),
    Faulty {
        in_trailers: bool,
    },
}

/// A line up to its CR LF, and what follows; `None` without a LF.
fn line(data: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let end = data.iter().position(|&b| b == b'\n')?;
    Some((data[..end].strip_suffix(b"\r"), &data[end + 1..]))
}

pub(super) fn read_chunked(data: &[u8], limits: &Limits) -> Verdict {
    let mut content = Vec::new();
    let mut extensions = 0;
    let mut rest = data;
    loop {
        let Some((size_line, after)) = line(rest) else { return Verdict::Incomplete(content) };
        let Some(size) = size_line.and_then(|line| size(line, &mut extensions, limits)) else {
            return Verdict::Faulty { in_trailers: false };
        };
        if size == 0 {
            return trailers(after, content, data.len(), limits);
        }
        if after.len() as u128 <= size {
            content.extend_from_slice(after);
            return Verdict::Incomplete(content);
        }
        let (chunk, tail) = after.split_at(size as usize);
        content.extend_from_slice(chunk);
        match tail {
            [b'\r', b'\n', next @ ..] => rest = next,
            [b'\r'] => return Verdict::Incomplete(content),
            _ => return Verdict::Faulty { in_trailers: false },
        }
    }
}

fn size(line: &[u8], extensions: &mut usize, limits: &Limits) -> Option<u128> {
    let (digits, extension) = match line.iter().position(|&b| b == b';') {
        Some(at) => (&line[..at], &line[at + 1..]),
        None => (line, &b""[..]),
    };
    *extensions += extension.len();
    let valid = !digits.is_empty()
        && digits.len() <= 16
        && digits.iter().all(u8::is_ascii_hexdigit)
        && extension.iter().all(|&b| b == b'\t' || !b.is_ascii_control())
        && *extensions <= limits.chunk_extension_bytes_max;
    if !valid {
        return None;
    }
    u128::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn trailers(mut rest: &[u8], content: Vec<u8>, total: usize, limits: &Limits) -> Verdict {
    let (mut bytes, mut count) = (0, 0);
    loop {
        let Some((trailer, after)) = line(rest) else { return Verdict::Incomplete(content) };
        let Some(trailer) = trailer else { return Verdict::Faulty { in_trailers: true } };
        if trailer.is_empty() {
            return Verdict::Complete { content, used: total - after.len() };
        }
        bytes += trailer.len() + 2;
        count += 1;
        let Some(colon) = trailer.iter().position(|&b| b == b':') else {
            return Verdict::Faulty { in_trailers: true };
        };
        let name = &trailer[..colon];
        let token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
        let valid = !name.is_empty()
            && name.iter().all(token)
            && trailer[colon..].iter().all(|&b| b == b'\t' || !b.is_ascii_control())
            && bytes <= limits.trailer_bytes_max
            && count <= limits.fields_max;
        if !valid {
            return Verdict::Faulty { in_trailers: true };
        }
        rest = after;
    }
}
