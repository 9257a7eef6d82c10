//! Networks of proxies as their addresses are met.

use ipnet::{IpNet, Ipv4Net};

/// How many bits stand before an IPv4 address that is written as an IPv6 one (RFC 4291 section 2.5.5.2).
const MAPPED: u8 = 96;

/// The network of IPv4 that an IPv4-mapped one means: addresses are compared in that form, so the other would never match.
pub(super) fn as_it_is_met(network: IpNet) -> IpNet {
    let IpNet::V6(six) = network else { return network };
    let four = six.addr().to_ipv4_mapped().zip(six.prefix_len().checked_sub(MAPPED));
    let four = four.and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok());
    four.map_or(network, IpNet::V4)
}
