//! Creates an output directory atomically: it is written under a temporary name and renamed when it is complete.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::failure::{CANNOT_CREATE, Failure};

/// An incomplete output directory. Dropping it before [`NewDirectory::commit`] removes it.
pub(crate) struct NewDirectory {
    path: PathBuf,
    temporary: PathBuf,
}

impl NewDirectory {
    /// Creates the temporary directory for `path`.
    ///
    /// # Errors
    /// `path` exists, or no directory can be created beside it.
    pub(crate) fn begin(path: &Path) -> Result<Self, Failure> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failure(path, &error)),
            Ok(_) => {
                let text = format!(
                    "{} already exists: remove it first, or name another directory",
                    path.display()
                );
                return Err(Failure::new(CANNOT_CREATE, "exists", text));
            }
        }
        let name = path.file_name().ok_or_else(|| {
            Failure::usage(format!("{} cannot name a new directory", path.display()))
        })?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}", std::process::id()));
        let temporary = path.with_file_name(hidden);
        fs::create_dir(&temporary).map_err(|error| failure(path, &error))?;
        let directory = Self {
            path: path.to_owned(),
            temporary,
        };
        set_mode(&directory.temporary, 0o755).map_err(|error| failure(path, &error))?;
        Ok(directory)
    }

    /// Creates a subdirectory.
    ///
    /// # Errors
    /// The directory cannot be created.
    pub(crate) fn create_dir(&self, name: &str) -> Result<(), Failure> {
        let directory = self.temporary.join(name);
        fs::create_dir(&directory)
            .and_then(|()| set_mode(&directory, 0o755))
            .map_err(|error| failure(&self.path.join(name), &error))
    }

    /// Writes a file and creates its parent directories. Modes do not depend on the umask: other users read the
    /// result.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(&self, name: &str, mode: u32, content: &[u8]) -> Result<(), Failure> {
        let file = self.temporary.join(name);
        self.write_file(&file, mode, content)
            .map_err(|error| failure(&self.path.join(name), &error))
    }

    fn write_file(&self, path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
        let parents: Vec<&Path> = path
            .ancestors()
            .skip(1)
            .take_while(|parent| *parent != self.temporary)
            .collect();
        for parent in parents.into_iter().rev().filter(|parent| !parent.exists()) {
            fs::create_dir(parent)?;
            set_mode(parent, 0o755)?;
        }
        let mut file = fs::File::create_new(path)?;
        file.write_all(content)?;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()
    }

    /// Renames the directory to its final path.
    ///
    /// # Errors
    /// The path exists by now, or the rename failed.
    pub(crate) fn commit(self) -> Result<(), Failure> {
        fs::rename(&self.temporary, &self.path).map_err(|error| failure(&self.path, &error))
    }
}

impl Drop for NewDirectory {
    fn drop(&mut self) {
        // Has no effect after `commit`: the temporary name is gone.
        let _ = fs::remove_dir_all(&self.temporary);
    }
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn failure(path: &Path, error: &io::Error) -> Failure {
    let text = format!("{} cannot be created: {error}", path.display());
    Failure::new(CANNOT_CREATE, "cannot_create", text)
}
