//! What the build installs on a machine that lacks it, with a package manager that only says so.

#[cfg(test)]
mod tests {
    use std::{
        env,
        fs::{self, Permissions},
        os::unix::fs::{PermissionsExt, symlink},
        path::Path,
        process::Command,
    };

    /// What the script itself needs, and what it looks for; no C++ compiler, and nothing else.
    const PRESENT: [&str; 11] = [
        "sh", "cut", "sed", "env", "cargo", "rustc", "cc", "cmake", "make", "as", "ld",
    ];

    fn link(program: &str, folder: &Path) {
        let path = env::var_os("PATH").unwrap();
        let found = env::split_paths(&path)
            .map(|folder| folder.join(program))
            .find(|file| file.exists());
        if let Some(file) = found {
            symlink(file, folder.join(program)).unwrap();
        }
    }

    fn stub(program: &str, does: &str, folder: &Path) {
        let file = folder.join(program);
        fs::write(&file, format!("#!/bin/sh\n{does}\n")).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs the script for what is asked for, where that is missing; returns what it would install.
    fn installed(asked: &[&str]) -> String {
        let folder = tempfile::tempdir().unwrap();
        for program in PRESENT {
            link(program, folder.path());
        }
        let said = folder.path().join("said");
        stub(
            "apt-get",
            &format!("echo \"$*\" >>'{}'", said.display()),
            folder.path(),
        );
        stub("id", "echo 0", folder.path());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/install-prerequisites.sh");
        let told = Command::new(folder.path().join("sh"))
            .arg(script)
            .args(asked)
            .env("PATH", folder.path())
            .output()
            .unwrap();
        // Nothing was installed, which it notices.
        assert!(!told.status.success(), "{told:?}");
        let said = fs::read_to_string(said).unwrap_or_default();
        let packages = said.lines().last().and_then(|line| {
            let (_, packages) = line.split_once("--no-install-recommends ")?;
            Some(packages.to_owned())
        });
        packages.unwrap_or_else(|| panic!("nothing was installed: {told:?}"))
    }

    #[test]
    fn packages_are_named_as_the_package_manager_knows_them() {
        assert_eq!(installed(&["c++"]), "g++");
        assert_eq!(installed(&["valgrind"]), "valgrind");
        assert_eq!(installed(&["c++", "valgrind"]), "g++ valgrind");
    }
}
