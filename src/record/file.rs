//! Writing files so that a reader never sees half of one.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// Writes a file at once: into a temporary one beside it, which then takes its name. Missing folders are made. What is
/// no regular file (a pipe, /dev/null) is written to as it is.
pub fn write(path: &Path, text: &str) -> io::Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if fs::metadata(&path).is_ok_and(|existing| !existing.is_file()) {
        return fs::write(&path, text);
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    let temporary = temporary_beside(&path)?;
    let renamed = fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, &path));
    if renamed.is_err() {
        // The reason is reported; a leftover would only confuse.
        let _ = fs::remove_file(&temporary);
    }
    renamed
}

/// Whether a file could be written there: found out before there is something to lose. Missing folders are made.
pub fn check(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(existing) if existing.is_dir() => Err(io::Error::from(io::ErrorKind::IsADirectory)),
        Ok(existing) if !existing.is_file() => Ok(()),
        _ => {
            if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
                fs::create_dir_all(folder)?;
            }
            let temporary = temporary_beside(path)?;
            fs::write(&temporary, "").and_then(|()| fs::remove_file(&temporary))
        }
    }
}

fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?;
    Ok(path.with_file_name(format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_at_once_and_folders_are_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/result.json");
        write(&path, "1").unwrap();
        write(&path, "2").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "2");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        write(Path::new("/dev/null"), "x").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        assert!(write(folder.path(), "x").is_err());
    }
}
