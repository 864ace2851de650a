//! Whose certificates are believed: those the system trusts, and the authority that `--ca` names.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::failure::{Failure, Result};

/// What it takes to open TLS connections. Called when the first one is opened: reading the system's list takes a while.
pub(crate) fn config(ca: Option<&Path>) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    // One broken file among the system's is no reason to trust none of the others.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = ca {
        add_file(&mut roots, file)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider knows the versions that are built in")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn add_file(roots: &mut RootCertStore, file: &Path) -> Result<()> {
    let fail = |why: String| {
        Failure::usage(
            format!(
                "the certificate file {} is of no use: {why}",
                file.display()
            ),
            "save what `pilvi ca` prints on the server's machine, and name that file with --ca or PILVI_CA",
        )
    };
    let certificates =
        CertificateDer::pem_file_iter(file).map_err(|error| fail(error.to_string()))?;
    let mut found = 0;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| fail(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| fail(error.to_string()))?;
        found += 1;
    }
    match found {
        0 => Err(fail("it holds no certificate".into())),
        _ => Ok(()),
    }
}
