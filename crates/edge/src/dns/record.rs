//! Records and names as answers hold them.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use domain::base::iana::exterr::ExtendedErrorCode;
use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::name::NameBuilder;
use domain::base::{Name, Record, Ttl};
use domain::rdata::{A, Aaaa, ZoneRecordData};

/// A name; copies share its bytes.
pub(super) type DnsName = Name<Bytes>;
/// What a record says.
pub(super) type Data = ZoneRecordData<Bytes, DnsName>;
/// A record.
pub(super) type DnsRecord = Record<DnsName, Data>;

/// What a query is answered with, size and header's details apart.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// The response code, [`Rcode::NOERROR`] also when there is no data.
    pub(super) rcode: Rcode,
    /// Whether this server is the source of what it says.
    pub(super) authoritative: bool,
    /// The answer section, in the order in which records are to survive where not all fit.
    pub(super) answers: Vec<DnsRecord>,
    /// The authority section.
    pub(super) authority: Vec<DnsRecord>,
    /// The additional section.
    pub(super) additional: Vec<DnsRecord>,
    /// Why there is nothing, for people; sent to clients that understand EDNS (RFC 8914).
    pub(super) why: Option<String>,
    /// What kind of reason that is.
    pub(super) why_code: ExtendedErrorCode,
}

impl Answer {
    /// Nothing but a code.
    pub(super) fn of(rcode: Rcode) -> Self {
        Self {
            rcode,
            authoritative: false,
            answers: Vec::new(),
            authority: Vec::new(),
            additional: Vec::new(),
            why: None,
            why_code: ExtendedErrorCode::OTHER,
        }
    }
}

/// A record of the Internet class.
pub(super) fn record(owner: &DnsName, ttl: Duration, data: impl Into<Data>) -> DnsRecord {
    Record::new(owner.clone(), Class::IN, Ttl::from_duration_lossy(ttl), data.into())
}

/// The record of an address.
pub(super) fn address(owner: &DnsName, ttl: Duration, ip: IpAddr) -> DnsRecord {
    match ip {
        IpAddr::V4(ip) => record(owner, ttl, A::new(ip)),
        IpAddr::V6(ip) => record(owner, ttl, Aaaa::new(ip)),
    }
}

/// Whether a query of this type wants such an address.
pub(super) fn wants(rtype: Rtype, ip: &IpAddr) -> bool {
    rtype == Rtype::ANY || rtype == if ip.is_ipv4() { Rtype::A } else { Rtype::AAAA }
}

/// The name of these labels below an origin; `None` if one of them is no label, or all together are too long.
pub(super) fn below<'a>(labels: impl IntoIterator<Item = &'a str>, origin: &DnsName) -> Option<DnsName> {
    let mut builder = NameBuilder::new_bytes();
    for label in labels {
        if label.is_empty() {
            return None;
        }
        builder.append_label(label.as_bytes()).ok()?;
    }
    builder.append_origin(origin).ok()
}

/// A host name as registered, such as `db.example.com`, as a name; `None` if it cannot be one.
pub(super) fn host(text: &str) -> Option<DnsName> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_plain = |label: &str| label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if text.is_empty() || !text.split('.').all(is_plain) {
        return None;
    }
    below(text.split('.'), &Name::root_bytes())
}

/// The labels of an address below `addr`: its bytes in hexadecimal.
pub(super) fn hex(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => format!("{:08x}", ip.to_bits()),
        IpAddr::V6(ip) => format!("{:032x}", ip.to_bits()),
    }
}

/// The address that such a label stands for.
pub(super) fn unhex(label: &str) -> Option<IpAddr> {
    if !label.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    match label.len() {
        8 => Some(IpAddr::V4(u32::from_str_radix(label, 16).ok()?.into())),
        32 => Some(IpAddr::V6(u128::from_str_radix(label, 16).ok()?.into())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_labels_and_back() {
        for (text, label) in [
            ("127.0.0.1", "7f000001"),
            ("0.0.0.1", "00000001"),
            ("2001:db8::1", "20010db8000000000000000000000001"),
        ] {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(hex(ip), label);
            assert_eq!(unhex(label), Some(ip));
            assert_eq!(unhex(&label.to_uppercase()), Some(ip));
        }
        for label in ["", "7f00000", "7f0000011", "+7f00001", "7g000001", "20010db80000"] {
            assert_eq!(unhex(label), None, "{label}");
        }
    }

    #[test]
    fn host_names_are_plain_and_fit() {
        assert_eq!(host("db.Example.com.").unwrap().to_string(), "db.Example.com");
        assert_eq!(host("my_db").unwrap().to_string(), "my_db");
        for bad in ["", ".", "a..b", "a b", "ä", &"a".repeat(64), &["a".repeat(60).as_str(); 5].join(".")] {
            assert!(host(bad).is_none(), "{bad}");
        }
    }
}
