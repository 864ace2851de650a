//! Certificates of custom domains (`mar.md` §2.7).

use std::sync::Arc;

use pilvi_base::{Keyring, Secret};
use pilvi_model::{AppId, Error, Result, Timestamp};
use pilvi_store::Store;
use pilvi_store::platform::Certificate;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::Mar;
use crate::caller::Caller;

/// What an owner uploads, in the field names of the classic command line.
#[derive(Debug)]
pub(crate) struct Upload {
    pub certificate_body: String,
    pub private_key: Secret,
    pub certificate_chain: Option<String>,
}

const PEM_MAX_BYTES: usize = 64 << 10;
const CERTIFICATES_MAX: usize = 10;

impl Mar {
    /// Serves the app's own domains with this certificate from now on.
    pub(crate) async fn set_certificate(
        &self,
        caller: &Caller,
        upload: &Upload,
    ) -> Result<Certificate> {
        let checked = check(upload, self.now())?;
        let parts = self.parts();
        let key = upload.private_key.expose().as_bytes();
        let certificate = Certificate {
            chain: checked.chain,
            key: parts.keyring.seal(&context(&caller.app), key),
            expires_at: checked.expires_at,
        };
        parts
            .store
            .put_certificate(&caller.app, certificate.clone())
            .await?;
        self.note(caller.act("app.certificate.change")).await;
        parts.processes.apply(&caller.app).await?;
        Ok(certificate)
    }

    pub(crate) async fn remove_certificate(&self, caller: &Caller) -> Result<()> {
        if !self.store().delete_certificate(&caller.app).await? {
            return Err(Error::not_found("the app has no certificate of its own"));
        }
        self.note(caller.act("app.certificate.remove")).await;
        self.parts().processes.apply(&caller.app).await
    }
}

/// What the router serves an app's domains with, if its owner uploaded something. One that cannot be used any more
/// is logged and left out, so that the app stays reachable.
pub(crate) async fn certified_key(
    store: &Store,
    keyring: &Keyring,
    app: &AppId,
) -> Result<Option<Arc<CertifiedKey>>> {
    let Some(certificate) = store.find_certificate(app).await? else {
        return Ok(None);
    };
    let key = keyring
        .open_sealed(&context(app), &certificate.key)
        .map_err(Error::internal)?;
    let opened = certificates_of("certificateBody", &certificate.chain)
        .and_then(|chain| pair(chain, &Secret::new(String::from_utf8_lossy(&key))));
    match opened {
        Ok(pair) => Ok(Some(Arc::new(pair))),
        Err(error) => {
            tracing::error!(%app, error = &error as &dyn std::error::Error, "the app's certificate cannot be used");
            Ok(None)
        }
    }
}

/// The names that a stored certificate is for.
pub(crate) fn names_of(certificate: &Certificate) -> Vec<String> {
    let chain = certificates_of("certificateBody", &certificate.chain).unwrap_or_default();
    let first = chain
        .first()
        .and_then(|der| X509Certificate::from_der(der).ok());
    first.map(|(_, parsed)| names(&parsed)).unwrap_or_default()
}

pub(crate) fn context(app: &AppId) -> String {
    format!("mar certificate {app}")
}

struct Checked {
    chain: String,
    expires_at: Timestamp,
}

fn check(upload: &Upload, now: Timestamp) -> Result<Checked> {
    const BODY: &str = "certificateBody";
    const CHAIN: &str = "certificateChain";
    let mut chain = certificates_of(BODY, &upload.certificate_body)?;
    if let Some(more) = &upload.certificate_chain {
        chain.extend(certificates_of(CHAIN, more)?);
    }
    if chain.len() > CERTIFICATES_MAX {
        return Err(Error::invalid(
            CHAIN,
            format!("has more than {CERTIFICATES_MAX} certificates"),
        ));
    }
    let mut parsed = Vec::new();
    for (place, der) in chain.iter().enumerate() {
        let field = if place == 0 { BODY } else { CHAIN };
        let (rest, certificate) = X509Certificate::from_der(der)
            .map_err(|_| Error::invalid(field, "holds something that is no X.509 certificate"))?;
        if !rest.is_empty() {
            return Err(Error::invalid(
                field,
                "holds bytes after a certificate's end",
            ));
        }
        parsed.push(certificate);
    }
    let own = parsed
        .first()
        .ok_or_else(|| Error::invalid(BODY, "holds no certificate"))?;
    for pair in parsed.windows(2) {
        if pair[0].issuer().as_raw() != pair[1].subject().as_raw() {
            return Err(Error::invalid(
                CHAIN,
                "is not in order: each certificate must be followed by that of its issuer",
            ));
        }
    }
    for (place, certificate) in parsed.iter().enumerate() {
        let field = if place == 0 { BODY } else { CHAIN };
        check_dates(field, certificate, now)?;
    }
    if names(own).is_empty() {
        return Err(Error::invalid(
            BODY,
            "names no host (it has no DNS name among its subject alternative names)",
        ));
    }
    let expires_at = moment(own.validity().not_after.timestamp());
    let text = chain.iter().map(|der| pem_of(der)).collect();
    pair(chain, &upload.private_key)?;
    Ok(Checked {
        chain: text,
        expires_at,
    })
}

fn check_dates(field: &str, certificate: &X509Certificate<'_>, now: Timestamp) -> Result<()> {
    let validity = certificate.validity();
    let (begins, ends) = (
        moment(validity.not_before.timestamp()),
        moment(validity.not_after.timestamp()),
    );
    if ends <= now {
        return Err(Error::invalid(field, format!("expired at {ends}")));
    }
    // Clocks of issuers run a little fast.
    if begins > now.plus(std::time::Duration::from_secs(24 * 60 * 60)) {
        return Err(Error::invalid(
            field,
            format!("is not valid before {begins}"),
        ));
    }
    Ok(())
}

fn moment(seconds: i64) -> Timestamp {
    Timestamp::from_millis(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000))
}

fn certificates_of(field: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    if pem.len() > PEM_MAX_BYTES {
        return Err(Error::invalid(
            field,
            format!("is larger than {PEM_MAX_BYTES} bytes"),
        ));
    }
    let unreadable = || {
        Error::invalid(
            field,
            "is not PEM: it must hold a text that begins with -----BEGIN CERTIFICATE-----",
        )
    };
    let found = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|_| unreadable())?;
    match found.is_empty() {
        true => Err(unreadable()),
        false => Ok(found),
    }
}

/// Key and certificate together, if they are a pair.
fn pair(chain: Vec<CertificateDer<'static>>, key: &Secret) -> Result<CertifiedKey> {
    const FIELD: &str = "privateKey";
    if key.expose().len() > PEM_MAX_BYTES {
        return Err(Error::invalid(
            FIELD,
            format!("is larger than {PEM_MAX_BYTES} bytes"),
        ));
    }
    if key.expose().contains("ENCRYPTED") {
        return Err(Error::invalid(
            FIELD,
            "is protected by a passphrase; remove it first, for example with `openssl pkey`",
        ));
    }
    let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).map_err(|_| {
        Error::invalid(
            FIELD,
            "is not a private key in PEM, which begins with a line such as -----BEGIN PRIVATE KEY-----",
        )
    })?;
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map_err(|error| {
        let message = match error {
            rustls::Error::InconsistentKeys(_) => "is not the key of this certificate",
            _ => "is of a kind that this server cannot use; use RSA with 2048 to 8192 bits, ECDSA or Ed25519",
        };
        Error::invalid(FIELD, message)
    })
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let names = extension.value.general_names.iter();
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect()
}

/// One certificate as text, whatever stood around it in the upload.
fn pem_of(der: &[u8]) -> String {
    use base64::Engine;
    let encoded = base64::engine::general_purpose::STANDARD.encode(der);
    let lines = encoded.as_bytes().chunks(64);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in lines {
        text.extend(line.iter().map(|&byte| char::from(byte)));
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}
