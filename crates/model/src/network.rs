//! Networks of addresses, as people write them: `10.0.0.0/8`, `fd00::/8`, `192.0.2.7`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A network: the addresses that share their first bits with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

/// Text that is not a network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a network: expected an address with the length of its prefix, such as `10.0.0.0/8`")]
pub struct NotANetwork(pub String);

impl Network {
    /// Whether an address belongs to it. An IPv4 address in IPv6's clothes (`::ffff:10.0.0.1`) counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                let differing = u32::from(first) ^ u32::from(address);
                differing.leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                let differing = u128::from(first) ^ u128::from(address);
                differing.leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    /// An address alone is the network of this one address. Bits behind the prefix must be zero: whoever writes
    /// `10.1.2.3/8` most likely means something else.
    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let bad = || NotANetwork(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().map_err(|_| bad())?;
        let bits: u8 = if first.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => bits,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().map_err(|_| bad())?
            }
            Some(_) => return Err(bad()),
        };
        let rest_is_zero = match first {
            IpAddr::V4(first) => u32::from(first).trailing_zeros() >= 32u32.saturating_sub(prefix.into()),
            IpAddr::V6(first) => u128::from(first).trailing_zeros() >= 128u32.saturating_sub(prefix.into()),
        };
        if prefix > bits || !rest_is_zero || first.to_canonical() != first {
            return Err(bad());
        }
        Ok(Self { first, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_a_network() {
        let check = |network: &str, inside: &[&str], outside: &[&str]| {
            let parsed: Network = network.parse().unwrap();
            for address in inside {
                assert!(parsed.contains(address.parse().unwrap()), "{network} {address}");
            }
            for address in outside {
                assert!(!parsed.contains(address.parse().unwrap()), "{network} {address}");
            }
        };
        check("10.0.0.0/8", &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"], &["11.0.0.0", "::1"]);
        check("0.0.0.0/0", &["1.2.3.4"], &["::"]);
        check("::/0", &["::1"], &["1.2.3.4"]);
        check("192.0.2.7", &["192.0.2.7"], &["192.0.2.6"]);
        check("fd00::/8", &["fdff::1"], &["fe80::1"]);
        check("fd00::/127", &["fd00::1"], &["fd00::2"]);
    }

    #[test]
    fn what_is_no_network() {
        for bad in [
            "",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "10/8",
            "::/129",
            "::1/64",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "a/8",
            "::ffff:10.0.0.1",
        ] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
        assert_eq!("10.0.0.0/8".parse::<Network>().unwrap().to_string(), "10.0.0.0/8");
    }
}
