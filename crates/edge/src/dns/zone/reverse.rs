//! Names of addresses (RFC 1035 section 3.5, RFC 3596 section 2.5).

use std::net::{IpAddr, Ipv4Addr};

use crate::dns::record::{DnsName, below};

/// What a name below `in-addr.arpa` or `ip6.arpa` stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reverse {
    /// An address.
    Address(IpAddr),
    /// The beginning of addresses.
    Branch,
    /// Nothing.
    Nothing,
}

/// The reverse tree that a name, in lower case, lies in, and what it stands for there; `None` if it lies in neither.
pub(super) fn reverse(labels: &[String]) -> Option<(DnsName, Reverse)> {
    let [before @ .., tree, arpa] = labels else { return None };
    if arpa != "arpa" {
        return None;
    }
    let found = match tree.as_str() {
        "in-addr" => octets(before),
        "ip6" => nibbles(before),
        _ => return None,
    };
    Some((below([tree.as_str(), "arpa"], &DnsName::root_bytes())?, found.unwrap_or(Reverse::Nothing)))
}

fn octets(labels: &[String]) -> Option<Reverse> {
    let octets: Vec<u8> = labels.iter().rev().map(|label| octet(label)).collect::<Option<_>>()?;
    match <[u8; 4]>::try_from(octets) {
        Ok(octets) => Some(Reverse::Address(Ipv4Addr::from(octets).into())),
        Err(octets) => (octets.len() < 4).then_some(Reverse::Branch),
    }
}

/// A number from 0 to 255 as it is written in names: no sign, no zero in front.
fn octet(label: &str) -> Option<u8> {
    let number: u8 = label.parse().ok()?;
    (number.to_string() == label).then_some(number)
}

fn nibbles(labels: &[String]) -> Option<Reverse> {
    let mut bits: u128 = 0;
    for label in labels.iter().rev() {
        let &[digit] = label.as_bytes() else { return None };
        bits = bits << 4 | u128::from(char::from(digit).to_digit(16)?);
    }
    match labels.len() {
        32 => Some(Reverse::Address(IpAddr::V6(bits.into()))),
        0..32 => Some(Reverse::Branch),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use domain::base::Name;

    use super::*;

    fn check(name: &str, tree: &str, expected: &Reverse) {
        let labels: Vec<String> = name.split('.').map(str::to_owned).collect();
        let (found_tree, found) = reverse(&labels).unwrap();
        assert_eq!((found_tree.to_string().as_str(), &found), (tree, expected), "{name}");
    }

    #[test]
    fn every_address_has_one_name() {
        for text in ["10.0.0.1", "255.254.0.10", "::1", "2001:db8::ff00:42:8329"] {
            let ip: IpAddr = text.parse().unwrap();
            let name = Name::<Vec<u8>>::reverse_from_addr(ip).unwrap().to_string();
            let tree = if ip.is_ipv4() { "in-addr.arpa" } else { "ip6.arpa" };
            check(&name.to_lowercase(), tree, &Reverse::Address(ip));
        }
    }

    #[test]
    fn the_rest_is_a_branch_or_nothing() {
        check("in-addr.arpa", "in-addr.arpa", &Reverse::Branch);
        check("0.10.in-addr.arpa", "in-addr.arpa", &Reverse::Branch);
        check("8.b.d.0.1.0.0.2.ip6.arpa", "ip6.arpa", &Reverse::Branch);
        for name in [
            "1.1.0.0.10.in-addr.arpa",
            "256.0.0.10.in-addr.arpa",
            "01.0.0.10.in-addr.arpa",
            "+1.in-addr.arpa",
        ] {
            check(name, "in-addr.arpa", &Reverse::Nothing);
        }
        check("10.ip6.arpa", "ip6.arpa", &Reverse::Nothing);
        check("g.ip6.arpa", "ip6.arpa", &Reverse::Nothing);
        check(&format!("{}ip6.arpa", "0.".repeat(33)), "ip6.arpa", &Reverse::Nothing);
        for name in ["arpa", "e164.arpa", "example.com", "in-addr.arpa.consul"] {
            let labels: Vec<String> = name.split('.').map(str::to_owned).collect();
            assert_eq!(reverse(&labels), None, "{name}");
        }
    }
}
