//! Giving privileges up for good, once what needs them is open.
//!
//! All here is about the calling thread where the kernel keeps it by thread (capabilities): call it before there are
//! others.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;

/// Highest capability number tried; the kernel refuses those it does not know.
const CAPABILITIES: libc::c_ulong = 63;
/// `_LINUX_CAPABILITY_VERSION_3` of capget(2).
const CAPABILITY_VERSION: u32 = 0x2008_0522;
const ROOM_FOR_USER: usize = 16 << 10;

/// A user this process may switch to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// User ID.
    pub uid: u32,
    /// Primary group ID.
    pub gid: u32,
}

impl User {
    /// Looks a name up; `None` when there is no such user.
    pub fn find(name: &str) -> io::Result<Option<User>> {
        let Ok(name) = CString::new(name) else { return Ok(None) };
        let mut entry = MaybeUninit::<libc::passwd>::uninit();
        let mut room = vec![0; ROOM_FOR_USER];
        let mut found = std::ptr::null_mut();
        // SAFETY: the library writes one passwd, strings into `room` of the length given, and a pointer to the entry or
        // null.
        let code = unsafe {
            libc::getpwnam_r(name.as_ptr(), entry.as_mut_ptr(), room.as_mut_ptr(), room.len(), &raw mut found)
        };
        match (code, found.is_null()) {
            (0, true) => Ok(None),
            (0, false) => {
                // SAFETY: found is not null, so the entry was filled.
                let entry = unsafe { entry.assume_init() };
                Ok(Some(User { uid: entry.pw_uid, gid: entry.pw_gid }))
            }
            (code, _) => Err(io::Error::from_raw_os_error(code)),
        }
    }
}

/// Whether this process acts as root.
pub fn is_root() -> bool {
    // SAFETY: a system call without arguments that cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Becomes the user, if one is given, and gives up every capability; no program started later gets any back.
///
/// # Errors
/// EPERM when this process may not change its user.
pub fn give_up(user: Option<User>) -> io::Result<()> {
    control(libc::PR_SET_NO_NEW_PRIVS, 1)?;
    // Fails without CAP_SETPCAP; then NO_NEW_PRIVS alone keeps programs that are started later from gaining any.
    (0..=CAPABILITIES).for_each(|capability| drop(control(libc::PR_CAPBSET_DROP, capability)));
    if let Some(user) = user {
        become_user(user)?;
    }
    clear_capabilities()
}

fn control(option: libc::c_int, argument: libc::c_ulong) -> io::Result<()> {
    const NONE: libc::c_ulong = 0;
    // SAFETY: these options take numbers only.
    check(unsafe { libc::prctl(option, argument, NONE, NONE, NONE) })
}

fn become_user(user: User) -> io::Result<()> {
    // SAFETY: an empty list needs no memory.
    check(unsafe { libc::setgroups(0, std::ptr::null()) })?;
    // SAFETY: a system call on numbers.
    check(unsafe { libc::setresgid(user.gid, user.gid, user.gid) })?;
    // SAFETY: a system call on numbers.
    check(unsafe { libc::setresuid(user.uid, user.uid, user.uid) })
}

fn clear_capabilities() -> io::Result<()> {
    /// `cap_user_header_t`: version, process (0: the caller).
    #[repr(C)]
    struct Header(u32, i32);
    /// `cap_user_data_t`: effective, permitted, inheritable; two of them hold 64 bits.
    type Sets = [[u32; 3]; 2];
    let header = Header(CAPABILITY_VERSION, 0);
    let none: Sets = [[0; 3]; 2];
    // SAFETY: capset reads a header and, for this version, two sets of three words.
    match unsafe { libc::syscall(libc::SYS_capset, &raw const header, &raw const none) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn check(code: libc::c_int) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn users_are_found_by_name() {
        assert_eq!(User::find("root").unwrap(), Some(User { uid: 0, gid: 0 }));
        assert_eq!(User::find("no-such-user-here").unwrap(), None);
        assert_eq!(User::find("ro\0ot").unwrap(), None);
    }

    /// In a separate thread: capabilities belong to a thread.
    #[test]
    fn no_capability_is_left() {
        let status = std::thread::spawn(|| {
            give_up(None).unwrap();
            fs::read_to_string("/proc/thread-self/status").unwrap()
        });
        let status = status.join().unwrap();
        for line in ["CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"] {
            assert!(status.contains(line), "{line}: {status}");
        }
    }
}
