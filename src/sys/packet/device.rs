//! The device that packets are captured on: found by name, and whether its frames are Ethernet's.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// What a captured packet begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkType {
    /// An Ethernet header.
    Ethernet,
    /// The header of IP or another protocol, which [`super::Meta::protocol`] names.
    Cooked,
}

/// Where to capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Name, or `any`.
    pub name: String,
    /// 0 is every device.
    pub index: u32,
    /// What its frames begin with.
    pub link_type: LinkType,
    /// What it sends it receives again.
    pub loopback: bool,
}

/// A device cannot be captured on.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error("there is no network device '{name}'; there are: any, {}", known.join(", "))]
    Missing { name: String, known: Vec<String> },
    #[error(
        "capturing on {device} is not permitted; it needs the capability CAP_NET_RAW: run as root, or allow this program \
         once with: sudo setcap cap_net_raw=ep {program}"
    )]
    NotPermitted { device: String, program: String },
    #[error("the device {0} is down; set it up with: ip link set {0} up")]
    Down(String),
    #[error("capturing on {device} failed: {error}")]
    Other { device: String, error: io::Error },
}

impl DeviceError {
    /// Explains an error of a packet socket's call.
    pub fn opening(device: &str, error: io::Error) -> DeviceError {
        let device = device.to_owned();
        match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => {
                let program = std::env::current_exe().map_or("ringmark".into(), |path| path.display().to_string());
                DeviceError::NotPermitted { device, program }
            }
            Some(libc::ENETDOWN) => DeviceError::Down(device),
            _ => DeviceError::Other { device, error },
        }
    }
}

impl Device {
    /// Every device at once.
    pub const ANY: &str = "any";

    /// Looks a device up by its name.
    pub fn find(name: &str) -> Result<Device, DeviceError> {
        if name == Device::ANY {
            return Ok(Device { name: name.into(), index: 0, link_type: LinkType::Cooked, loopback: false });
        }
        let missing = || DeviceError::Missing { name: name.into(), known: names() };
        let text = CString::new(name).map_err(|_| missing())?;
        // SAFETY: the string ends with a zero.
        let index = unsafe { libc::if_nametoindex(text.as_ptr()) };
        if index == 0 {
            return Err(missing());
        }
        let hardware = hardware(&text).map_err(|error| DeviceError::opening(name, error))?;
        let link_type = match hardware {
            libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => LinkType::Ethernet,
            _ => LinkType::Cooked,
        };
        Ok(Device { name: name.into(), index, link_type, loopback: hardware == libc::ARPHRD_LOOPBACK })
    }

    /// The index of the loopback device, where there is one of the usual name.
    pub fn loopback_index() -> Option<u32> {
        Device::find("lo").ok().filter(|device| device.loopback).map(|device| device.index)
    }
}

/// ETH_P_ALL in network order.
pub fn protocol_all() -> u16 {
    (libc::ETH_P_ALL as u16).to_be()
}

/// The name of the device of this index; `None` when it is gone.
pub fn interface_name(index: u32) -> Option<String> {
    let mut name = [0u8; libc::IF_NAMESIZE];
    // SAFETY: the kernel's library writes at most IF_NAMESIZE bytes, a string that ends with a zero.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) };
    let text = CStr::from_bytes_until_nul(&name).ok()?;
    (!found.is_null()).then(|| text.to_string_lossy().into_owned())
}

/// The kind of a device (`ARPHRD_…`).
fn hardware(name: &CStr) -> io::Result<u16> {
    // SAFETY: a system call without pointers.
    let socket = match unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) } {
        // SAFETY: a new descriptor that nobody else owns.
        fd @ 0.. => unsafe { OwnedFd::from_raw_fd(fd) },
        _ => return Err(io::Error::last_os_error()),
    };
    // SAFETY: an ifreq is plain data; all zero is an empty name.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero: if_nametoindex found the name, so it is shorter.
    let room = request.ifr_name.len() - 1;
    for (place, byte) in request.ifr_name[..room].iter_mut().zip(name.to_bytes()) {
        *place = *byte as libc::c_char;
    }
    // SAFETY: the kernel reads and writes one ifreq.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFHWADDR as _, &raw mut request) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: SIOCGIFHWADDR filled this member of the union; any bits are valid for it.
    Ok(unsafe { request.ifr_ifru.ifru_hwaddr.sa_family })
}

/// The names of all devices.
fn names() -> Vec<String> {
    // SAFETY: returns null or a list that if_freenameindex frees below.
    let list = unsafe { libc::if_nameindex() };
    let mut names = Vec::new();
    let mut at = list;
    // SAFETY: the list ends with an entry whose index is 0; the names of all before it are strings.
    while let Some(entry) = unsafe { at.as_ref() }.filter(|entry| entry.if_index != 0) {
        // SAFETY: as above.
        names.push(unsafe { CStr::from_ptr(entry.if_name) }.to_string_lossy().into_owned());
        // SAFETY: an entry with an index is followed by another.
        at = unsafe { at.add(1) };
    }
    if !list.is_null() {
        // SAFETY: what if_nameindex returned, and no reference into it is left.
        unsafe { libc::if_freenameindex(list) };
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_device_is_found_and_is_ethernet() {
        let device = Device::find("lo").unwrap();
        assert!(device.loopback && device.link_type == LinkType::Ethernet, "{device:?}");
        assert_eq!(interface_name(device.index).as_deref(), Some("lo"));
        assert_eq!(interface_name(u32::MAX), None);
    }

    #[test]
    fn an_unknown_device_is_answered_with_those_there_are() {
        for name in ["nosuch0", "", "lo\0", "a-name-longer-than-any-device-may-have"] {
            let error = Device::find(name).unwrap_err().to_string();
            assert!(error.contains("any, ") && error.contains("lo"), "{error}");
        }
    }
}
