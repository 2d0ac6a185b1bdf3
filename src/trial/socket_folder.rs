//! A private folder for a server's unix socket, as long as the server lives.

use crate::record::Reason;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Nobody else may connect to a socket in it.
const MODE: u32 = 0o700;
/// Names tried; an earlier process of the same number may have left some.
const TRIES: u32 = 1000;

/// Removed with all that is in it when dropped.
pub struct SocketFolder(PathBuf);

impl SocketFolder {
    /// A new one where temporary files belong (TMPDIR, else /tmp).
    ///
    /// # Errors
    /// It cannot be made, or its path is no text.
    pub fn new() -> Result<SocketFolder, Reason> {
        let parent = std::env::temp_dir();
        let failed = |problem: String| Reason::NoSocketFolder { folder: parent.display().to_string(), problem };
        if parent.to_str().is_none() {
            return Err(failed("its name is not UTF-8".to_owned()));
        }
        make_in(&parent).map(SocketFolder).map_err(|error| failed(error.to_string()))
    }

    /// Where a socket of this name is.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

fn make_in(parent: &Path) -> io::Result<PathBuf> {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let mut last = io::ErrorKind::AlreadyExists.into();
    for _ in 0..TRIES {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let folder = parent.join(format!("ringmark-{}-{number}", std::process::id()));
        match DirBuilder::new().mode(MODE).create(&folder) {
            Ok(()) => return Ok(folder),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

impl Drop for SocketFolder {
    fn drop(&mut self) {
        // What is left in a temporary folder does no harm.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_for_us_alone_and_goes_with_its_owner() {
        let (one, other) = (SocketFolder::new().unwrap(), SocketFolder::new().unwrap());
        assert_ne!(one.path("echo"), other.path("echo"));
        let folder = one.path("echo").parent().unwrap().to_owned();
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, MODE);
        fs::write(one.path("echo"), "").unwrap();
        drop(one);
        assert!(!folder.exists());
    }
}
