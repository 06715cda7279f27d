//! Free ports on the loopback address.

use std::collections::BTreeSet;
use std::net::TcpListener;

use super::problem::{Problem, Result};

/// Below the range from which the kernel takes the ports of outgoing connections, so that none is taken between choice and use.
const RANGE: std::ops::Range<u16> = 11_000..32_000;

/// Redis talks between nodes on the port that is this much higher, and so the lower ports are chosen from a shorter range.
pub(super) const BUS: u16 = 10_000;

/// Chooses `count` ports that nobody listens on and that are not in `taken`; with `bus`, the ports [`BUS`] higher are free too.
///
/// # Errors
/// When a thousand attempts find no free port.
pub(super) fn choose(count: usize, bus: bool, taken: &mut BTreeSet<u16>) -> Result<Vec<u16>> {
    let end = if bus { RANGE.end - BUS } else { RANGE.end };
    let mut chosen = Vec::with_capacity(count);
    for _ in 0..1000 {
        if chosen.len() == count {
            break;
        }
        let port = fastrand::u16(RANGE.start..end);
        let needed = if bus { vec![port, port + BUS] } else { vec![port] };
        if needed.iter().all(|port| !taken.contains(port) && is_free(*port)) {
            taken.extend(needed);
            chosen.push(port);
        }
    }
    if chosen.len() < count {
        return Err(Problem::new(format!(
            "no free port on 127.0.0.1 from {} to {}; is another program listening on all of them?",
            RANGE.start, end
        )));
    }
    Ok(chosen)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chosen_ports_are_free_and_different() {
        let mut taken = BTreeSet::new();
        let ports = choose(200, false, &mut taken).expect("ports");
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 200);
        assert_eq!(taken.len(), 200);
        assert!(ports.iter().all(|port| RANGE.contains(port)));
    }

    #[test]
    fn the_port_of_the_bus_is_taken_too() {
        let mut taken = BTreeSet::new();
        let ports = choose(3, true, &mut taken).expect("ports");
        assert!(
            ports
                .iter()
                .all(|port| taken.contains(&(port + BUS)) && port + BUS < RANGE.end)
        );
    }

    #[test]
    fn a_port_that_is_listened_on_is_not_free() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        assert!(!is_free(port));
    }

    #[test]
    fn without_a_free_port_the_range_is_named() {
        let mut taken: BTreeSet<u16> = (0..=u16::MAX).collect();
        assert!(
            choose(1, false, &mut taken)
                .expect_err("none")
                .to_string()
                .contains("11000")
        );
    }
}
