//! libpcap's filter expressions, compiled by libpcap itself; they run in the kernel as ours do.
//!
//! On Ethernet's frames they mean what they mean to tcpdump, but that a VLAN tag which the kernel has taken out is not
//! seen. On `any` and on devices without Ethernet's header they begin at the IP header, so that `ether`, `arp` and
//! `vlan` match nothing there.

use super::filter::FilterContext;
use crate::sys::packet::LinkType;
use pcap::{BpfProgram, Capture, Linktype};
use socket2::SockFilter;

/// DLT_RAW as Linux's libpcap numbers it; files have another number for it.
const RAW_IP: Linktype = Linktype(12);
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// libpcap does not take the expression.
#[derive(Debug, thiserror::Error)]
#[error("libpcap does not understand the filter '{text}': {reason}; its language is in pcap-filter(7)")]
pub struct ExpressionError {
    text: String,
    reason: String,
}

/// The expression as a program for the kernel.
pub fn compile(text: &str, context: FilterContext) -> Result<Vec<SockFilter>, ExpressionError> {
    let failed = |reason: String| ExpressionError { text: text.into(), reason };
    let link = if context.link_type == LinkType::Ethernet { Linktype::ETHERNET } else { RAW_IP };
    let program = Capture::dead(link).and_then(|capture| capture.compile(text, true));
    let program = program.map_err(|error| failed(error.to_string()))?;
    let mut code = leave_out_twice_seen(context.loopback);
    code.extend(instructions(&program, context).ok_or_else(|| failed("an instruction cannot be read".into()))?);
    Ok(code)
}

/// The instructions, returning our snap length where the packet is accepted.
fn instructions(program: &BpfProgram, context: FilterContext) -> Option<Vec<SockFilter>> {
    program
        .get_instructions()
        .iter()
        .map(|instruction| {
            // The fields are private; their text is `code jt jf k`.
            let text = instruction.to_string();
            let mut numbers = text.split_whitespace().map(str::parse::<u32>);
            let mut next = || numbers.next()?.ok();
            let (code, yes, no, k) = (next()?, next()?, next()?, next()?);
            let accepts = code == RETURN && k != 0;
            let k = if accepts { context.snap.0.clamp(1, u64::from(u32::MAX)) as u32 } else { k };
            Some(SockFilter::new(code as u16, yes as u8, no as u8, k))
        })
        .collect()
}

/// Rejects what leaves through the loopback device, as it comes in again; jumps are relative, so more may follow.
fn leave_out_twice_seen(loopback: Option<u32>) -> Vec<SockFilter> {
    let Some(loopback) = loopback else { return Vec::new() };
    let load = |what: libc::c_int| {
        let code = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
        SockFilter::new(code as u16, 0, 0, (libc::SKF_AD_OFF + what) as u32)
    };
    let jump_equal = |k, no| SockFilter::new((libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, 0, no, k);
    vec![
        load(libc::SKF_AD_PKTTYPE),
        jump_equal(u32::from(libc::PACKET_OUTGOING), 3),
        load(libc::SKF_AD_IFINDEX),
        jump_equal(loopback, 1),
        SockFilter::new(RETURN as u16, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Bytes;

    const CONTEXT: FilterContext = FilterContext { link_type: LinkType::Ethernet, loopback: Some(1), snap: Bytes(100) };

    #[test]
    fn what_libpcap_refuses_is_said_with_its_reason() {
        let error = compile("port and host", CONTEXT).unwrap_err().to_string();
        assert!(error.contains("port and host") && error.contains("pcap-filter"), "{error}");
    }

    #[test]
    fn an_expression_becomes_a_program() {
        for link_type in [LinkType::Ethernet, LinkType::Cooked] {
            let program = compile("tcp port 80 and host 10.0.0.1", FilterContext { link_type, ..CONTEXT });
            assert!(program.unwrap().len() > 10, "{link_type:?}");
        }
    }
}
