//! The few things of a certificate that Weir must know and that rustls does not tell: when it is valid, who issued
//! it, and which DNS names it is for (RFC 5280 sections 4.1 and 4.2.1.6).
//!
//! It reads an operator's own certificates, to choose among them and to warn; nothing is trusted because of it. Bytes
//! that are no certificate give nothing, never a panic.

/// What is known of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Who issued it, as encoded.
    pub(crate) issuer: Vec<u8>,
    /// Whom it is for, as encoded.
    pub(crate) subject: Vec<u8>,
    /// The first second of its validity, since 1970.
    pub(crate) not_before: i64,
    /// The last.
    pub(crate) not_after: i64,
    /// Its DNS names in lower case; wildcards with their asterisk.
    pub(crate) names: Vec<String>,
}

const BOOLEAN: u8 = 0x01;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
/// `[0]` of a certificate's version.
const VERSION: u8 = 0xa0;
/// `[3]` of its extensions.
const EXTENSIONS: u8 = 0xa3;
/// `[2]` of a name that is a DNS name.
const DNS_NAME: u8 = 0x82;
/// subjectAltName, 2.5.29.17.
const SUBJECT_ALT_NAME: [u8; 3] = [0x55, 0x1d, 0x11];

/// Reads a certificate in DER.
pub(crate) fn facts(certificate: &[u8]) -> Option<Facts> {
    let mut outer = Der(certificate);
    let mut certificate = Der(outer.take(SEQUENCE)?);
    let mut body = Der(certificate.take(SEQUENCE)?);
    body.skip_if(VERSION);
    // Serial number and signature algorithm.
    body.next()?;
    body.next()?;
    let issuer = body.take(SEQUENCE)?.to_vec();
    let mut validity = Der(body.take(SEQUENCE)?);
    let not_before = time(validity.next()?)?;
    let not_after = time(validity.next()?)?;
    let subject = body.take(SEQUENCE)?.to_vec();
    let mut names = Vec::new();
    while let Some((tag, content)) = body.next() {
        if tag == EXTENSIONS {
            names = dns_names(content)?;
        }
    }
    Some(Facts { issuer, subject, not_before, not_after, names })
}

fn dns_names(extensions: &[u8]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut extensions = Der(Der(extensions).take(SEQUENCE)?);
    while let Some((SEQUENCE, extension)) = extensions.next() {
        let mut extension = Der(extension);
        let is_names = extension.take(OID)? == SUBJECT_ALT_NAME;
        extension.skip_if(BOOLEAN);
        let value = extension.take(OCTET_STRING)?;
        if !is_names {
            continue;
        }
        let mut all = Der(Der(value).take(SEQUENCE)?);
        while let Some((tag, name)) = all.next() {
            if tag == DNS_NAME
                && let Ok(name) = std::str::from_utf8(name)
            {
                names.push(name.to_ascii_lowercase());
            }
        }
    }
    Some(names)
}

/// Seconds since 1970 of a time in one of the two forms that certificates may use (RFC 5280 section 4.1.2.5).
fn time((tag, text): (u8, &[u8])) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match (tag, text.len()) {
        (UTC_TIME, 12) => {
            let year: i64 = text[..2].parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, &text[2..])
        }
        (GENERALIZED_TIME, 14) => (text[..4].parse().ok()?, &text[4..]),
        _ => return None,
    };
    let part = |at: usize| rest[at..at + 2].parse::<i64>().ok();
    let (month, day, hour, minute, second) = (part(0)?, part(2)?, part(4)?, part(6)?, part(8)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second)
}

/// Days since 1970 of a date in the Gregorian calendar.
fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years that begin in March have the leap day at their end.
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 719468 days lie between 0000-03-01 and 1970-01-01.
    365 * year + leap_days + day_of_year - 719_468
}

/// What is left of a series of values in DER.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The next value: tag and content.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, mut rest) = rest.split_first()?;
        let mut len = usize::from(first);
        if first >= 0x80 {
            let digits = usize::from(first & 0x7f);
            if digits == 0 || digits > 4 || rest.len() < digits {
                return None;
            }
            len = rest[..digits].iter().fold(0, |len, &digit| len << 8 | usize::from(digit));
            rest = &rest[digits..];
        }
        let (content, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some((tag, content))
    }

    fn take(&mut self, expected: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == expected).map(|(_, content)| content)
    }

    fn skip_if(&mut self, tag: u8) {
        if self.0.first() == Some(&tag) {
            self.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_rcgen_writes() {
        let mut params =
            rcgen::CertificateParams::new(vec!["Shop.example".to_owned(), "*.shop.example".to_owned()])
                .unwrap();
        params.not_before = rcgen::date_time_ymd(2024, 2, 29);
        params.not_after = rcgen::date_time_ymd(2051, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let facts = facts(certificate.der()).unwrap();
        assert_eq!(facts.names, ["shop.example", "*.shop.example"]);
        assert_eq!(facts.not_before, 1_709_164_800);
        assert_eq!(facts.not_after, 2_556_144_000);
        assert_eq!(facts.issuer, facts.subject);
    }

    #[test]
    fn times() {
        let check = |tag, text: &str, expected: Option<i64>| {
            assert_eq!(time((tag, text.as_bytes())), expected, "{text}");
        };
        check(UTC_TIME, "700101000000Z", Some(0));
        check(UTC_TIME, "491231235959Z", Some(2_524_607_999));
        check(GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000));
        check(GENERALIZED_TIME, "20240229120000Z", Some(1_709_208_000));
        check(UTC_TIME, "20240229120000Z", None);
        check(UTC_TIME, "7001010000Z", None);
        check(UTC_TIME, "700001000000Z", None);
        check(UTC_TIME, "70010100000é", None);
    }

    proptest! {
        #[test]
        fn garbage_is_no_certificate_and_no_panic(bytes: Vec<u8>, at in 0..600usize, with: u8) {
            facts(&bytes);
            let key = rcgen::KeyPair::generate().unwrap();
            let made = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap().self_signed(&key).unwrap();
            let mut der = made.der().to_vec();
            let at = at % der.len();
            der[at] = with;
            facts(&der);
            facts(&der[..at]);
        }
    }
}
