//! A directory of results: made whole beside its place and renamed into it, or not at all.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::failure::{CANNOT_CREATE, Failure};

/// A directory that is being made. Dropping it before [`NewDirectory::place`] removes what there is.
pub(crate) struct NewDirectory {
    place: PathBuf,
    work: PathBuf,
}

impl NewDirectory {
    /// Begins a directory that shall be at `place`, where there must be nothing.
    ///
    /// # Errors
    /// There is something, or a directory cannot be made beside it.
    pub(crate) fn begin(place: &Path) -> Result<Self, Failure> {
        match fs::symlink_metadata(place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(cannot(place, &error)),
            Ok(_) => {
                let text = format!(
                    "{} is there already: remove it first, or name another directory",
                    place.display()
                );
                return Err(Failure::new(CANNOT_CREATE, "exists", text));
            }
        }
        let name = place.file_name().ok_or_else(|| {
            Failure::usage(format!("{} is no name for a directory", place.display()))
        })?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}", std::process::id()));
        let work = place.with_file_name(hidden);
        fs::create_dir(&work).map_err(|error| cannot(place, &error))?;
        let directory = Self {
            place: place.to_owned(),
            work,
        };
        set_mode(&directory.work, 0o755).map_err(|error| cannot(place, &error))?;
        Ok(directory)
    }

    /// Makes a directory in it.
    ///
    /// # Errors
    /// It cannot be made.
    pub(crate) fn make(&self, path: &str) -> Result<(), Failure> {
        let whole = self.work.join(path);
        fs::create_dir(&whole)
            .and_then(|()| set_mode(&whole, 0o755))
            .map_err(|error| cannot(&self.place.join(path), &error))
    }

    /// Writes a file below it. Modes are what they shall be, whatever the umask: others read the result.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn write(&self, path: &str, mode: u32, content: &[u8]) -> Result<(), Failure> {
        let whole = self.work.join(path);
        self.write_file(&whole, mode, content)
            .map_err(|error| cannot(&self.place.join(path), &error))
    }

    fn write_file(&self, path: &Path, mode: u32, content: &[u8]) -> io::Result<()> {
        let parents: Vec<&Path> = path
            .ancestors()
            .skip(1)
            .take_while(|parent| *parent != self.work)
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

    /// Puts it in its place.
    ///
    /// # Errors
    /// Something has come there meanwhile.
    pub(crate) fn place(self) -> Result<(), Failure> {
        fs::rename(&self.work, &self.place).map_err(|error| cannot(&self.place, &error))
    }
}

impl Drop for NewDirectory {
    fn drop(&mut self) {
        // After the rename there is nothing by this name.
        let _ = fs::remove_dir_all(&self.work);
    }
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn cannot(path: &Path, error: &io::Error) -> Failure {
    let text = format!("{} cannot be made: {error}", path.display());
    Failure::new(CANNOT_CREATE, "cannot_create", text)
}
