//! What stands around the subjects of a case: a folder that goes away with it, a certificate, and the upstreams.

use std::path::{Path, PathBuf};
use std::process::Child;

use anyhow::{Context, Result, ensure};

use crate::case::{Case, Upstream};
use crate::options::Options;
use crate::setup::Front;
use crate::{peers, subject, upstream};

/// Cores of the subject, and of load and upstreams.
pub(crate) const SUBJECT_CORE: usize = 0;
/// See [`SUBJECT_CORE`].
pub(crate) const LOAD_CORE: usize = 1;

/// The stage of one case.
pub(crate) struct Stage {
    pub(crate) case: Case,
    pub(crate) dir: PathBuf,
    pub(crate) upstreams: [u16; 2],
    pub(crate) peers: PathBuf,
    pub(crate) weir: PathBuf,
    upstream: Option<Child>,
}

impl Stage {
    /// Sets it up, upstreams listening.
    pub(crate) fn set(case: Case, options: &Options) -> Result<Self> {
        let dir = std::env::temp_dir().join(format!("weir-bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir)?;
        ensure!(
            options.weir.exists(),
            "there is no {}: `cargo build --release` first",
            options.weir.display()
        );
        // Now it goes away again, whatever fails.
        let mut stage = Self {
            case,
            dir,
            upstreams: upstream::PORTS,
            peers: peers::dir(&options.target),
            weir: options.weir.canonicalize()?,
            upstream: None,
        };
        if case.setup.front == Front::Tls {
            write_certificate(&stage.dir).context("cannot make a certificate")?;
        }
        let core = case.is_pinned().then_some(LOAD_CORE);
        stage.upstream = Some(match case.upstream {
            Upstream::Grpc | Upstream::Streams => upstream::start_own(core)?,
            kind => upstream::start_nginx(&stage.dir, kind, core)?,
        });
        upstream::wait_ready()?;
        Ok(stage)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(upstream) = &mut self.upstream {
            subject::end(upstream);
        }
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// An ECDSA certificate on P-256 and its key, apart and in one file.
fn write_certificate(dir: &Path) -> Result<()> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = rcgen::CertificateParams::new(names)?.self_signed(&key)?.pem();
    std::fs::write(dir.join("cert.pem"), &certificate)?;
    std::fs::write(dir.join("key.pem"), key.serialize_pem())?;
    std::fs::write(dir.join("both.pem"), certificate + &key.serialize_pem())?;
    Ok(())
}
