//! A certificate authority for this machine alone, so that HTTPS works from the first start.
//!
//! Its certificate is for loopback names and addresses only, which is written into it: whoever trusts it trusts
//! nothing beyond this machine, even if its key is stolen. The server certificates it signs are short-lived and
//! never stored.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use pilvi_base::secret::{hex, random_bytes, sha256, write_new};
use pilvi_base::{Clock, Secret};
use pilvi_edge::Edge;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    NameConstraints, SanType, SerialNumber,
};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

const LOCALHOST: &str = "localhost";
/// How many names have a certificate at a time.
const LEAVES_MAX: usize = 1024;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const CA_LIFE: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
const LEAF_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The local certificate authority could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    #[error("could not {step} `{}`", path.display())]
    Io {
        step: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("the key file `{}` can be read by others (mode {mode:o}); run `chmod 600` on it", path.display())]
    Readable { path: PathBuf, mode: u32 },
    #[error("`{}` holds no private key of a certificate authority", path.display())]
    Key { path: PathBuf, source: rcgen::Error },
    #[error(
        "`{}` is there without its key `ca.key`; restore the key, or delete the certificate to have both made anew",
        path.display()
    )]
    KeyMissing { path: PathBuf },
    #[error(
        "the certificate `{}` does not vouch for what `ca.key` signs, so it is another authority's; delete it to have \
         it made anew, and trust the new one", path.display()
    )]
    Certificate {
        path: PathBuf,
        source: rustls::Error,
    },
    #[error("could not make a certificate")]
    Make(#[from] rcgen::Error),
    #[error("could not set up TLS")]
    Tls(#[from] rustls::Error),
}

/// The authority: its certificate, which clients must trust, and its key.
pub struct LocalCa {
    certificate_path: PathBuf,
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
    clock: Clock,
    provider: Arc<CryptoProvider>,
}

impl LocalCa {
    /// Reads `ca.pem` and `ca.key` in `folder`, or makes them at first start.
    ///
    /// # Errors
    /// When the files cannot be read or written, do not belong together, or when others can read the key.
    pub fn open_or_make(folder: &Path, clock: &Clock) -> Result<Self, CaError> {
        let certificate_path = folder.join("ca.pem");
        let key = open_or_make_key(&folder.join("ca.key"), &certificate_path)?;
        let params = ca_params(&key, clock.now())?;
        let certificate_pem = match fs::read_to_string(&certificate_path) {
            Ok(pem) => pem,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let pem = params.self_signed(&key)?.pem();
                write_certificate(&certificate_path, &pem)?;
                pem
            }
            Err(source) => return Err(failed("read", &certificate_path)(source)),
        };
        let ca = Self {
            certificate_path,
            certificate_pem,
            issuer: Issuer::new(params, key),
            clock: clock.clone(),
            provider: Arc::new(rustls::crypto::ring::default_provider()),
        };
        ca.check()?;
        Ok(ca)
    }

    /// The file that clients must trust: `curl --cacert`, `NODE_EXTRA_CA_CERTS`.
    pub fn certificate_path(&self) -> &Path {
        &self.certificate_path
    }

    /// The certificate that clients must trust, as PEM text.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// TLS for `localhost` and every name under it, `127.0.0.1`, `::1` and those of `addresses` that are loopback;
    /// for others this authority cannot vouch. The server certificates are replaced while the server runs.
    pub fn server_config(
        self: &Arc<Self>,
        addresses: &[IpAddr],
    ) -> Result<Arc<ServerConfig>, CaError> {
        self.server_config_for(addresses, &[], None)
    }

    /// The same, and for the hosts of apps: with the certificate that was uploaded for one, or else with one of ours.
    /// `own` are names of Pilvi itself that look like those of apps.
    pub fn server_config_for(
        self: &Arc<Self>,
        addresses: &[IpAddr],
        own: &[String],
        apps: Option<Edge>,
    ) -> Result<Arc<ServerConfig>, CaError> {
        let mut all = vec![
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ];
        for address in addresses {
            if address.is_loopback() && !all.contains(address) {
                all.push(*address);
            }
        }
        let leaves = Leaves::new(self.clone(), all, own.to_vec(), apps)?;
        let mut config = ServerConfig::builder_with_provider(self.provider.clone())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(leaves));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// A certificate for `name` and `addresses`.
    fn issue(&self, name: &str, addresses: &[IpAddr]) -> Result<Leaf, CaError> {
        let now = self.clock.now();
        let key = KeyPair::generate()?;
        let certificate = leaf_params(name, addresses, now)?.signed_by(&key, &self.issuer)?;
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let chain = vec![certificate.der().clone()];
        Ok(Leaf {
            key: Arc::new(CertifiedKey::from_der(chain, private, &self.provider)?),
            renew_at: now + LEAF_LIFE - LEAF_LIFE / 3,
        })
    }

    /// Makes sure that a client which trusts the certificate file accepts what the key signs.
    fn check(&self) -> Result<(), CaError> {
        let leaf = self.issue(LOCALHOST, &[IpAddr::V4(Ipv4Addr::LOCALHOST)])?;
        let refused = |source| CaError::Certificate {
            path: self.certificate_path.clone(),
            source,
        };
        let malformed = |_| refused(rustls::CertificateError::BadEncoding.into());
        let mut roots = RootCertStore::empty();
        let root =
            CertificateDer::from_pem_slice(self.certificate_pem.as_bytes()).map_err(malformed)?;
        roots.add(root).map_err(refused)?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
                .build()
                .map_err(|_| refused(rustls::CertificateError::UnknownIssuer.into()))?;
        let since_epoch = self.clock.now().duration_since(SystemTime::UNIX_EPOCH);
        let now = UnixTime::since_unix_epoch(since_epoch.unwrap_or_default());
        let name = ServerName::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST).into());
        let certificate = leaf.key.end_entity_cert()?;
        let verified = verifier.verify_server_cert(certificate, &[], &name, &[], now);
        verified.map(drop).map_err(refused)
    }
}

impl fmt::Debug for LocalCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalCa")
            .field("certificate_path", &self.certificate_path)
            .finish_non_exhaustive()
    }
}

fn failed(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CaError {
    let path = path.to_owned();
    move |source| CaError::Io { step, path, source }
}

fn open_or_make_key(path: &Path, certificate: &Path) -> Result<KeyPair, CaError> {
    match fs::read_to_string(path) {
        Ok(pem) => {
            let pem = Secret::new(pem);
            let metadata = fs::metadata(path).map_err(failed("inspect", path))?;
            let mode = metadata.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                let path = path.to_owned();
                return Err(CaError::Readable { path, mode });
            }
            KeyPair::from_pem(pem.expose()).map_err(|source| CaError::Key {
                path: path.to_owned(),
                source,
            })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if certificate.exists() {
                let path = certificate.to_owned();
                return Err(CaError::KeyMissing { path });
            }
            let key = KeyPair::generate()?;
            write_new(path, key.serialize_pem().as_bytes()).map_err(failed("write", path))?;
            Ok(key)
        }
        Err(source) => Err(failed("read", path)(source)),
    }
}

/// Everybody may read a certificate; the rename makes it appear whole.
fn write_certificate(path: &Path, pem: &str) -> Result<(), CaError> {
    let draft = path.with_extension("pem.new");
    fs::write(&draft, pem).map_err(failed("write", &draft))?;
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o644))
        .map_err(failed("open up", &draft))?;
    fs::rename(&draft, path).map_err(failed("put in place", path))
}

/// The authority's certificate. Name and key identifier follow from the key alone, because the issuer of a server
/// certificate is made from them again at each start.
fn ca_params(key: &KeyPair, now: SystemTime) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::new(Vec::new())?;
    let fingerprint = hex(&sha256(key.public_key_raw())[..4]);
    params.distinguished_name = named(&format!("Pilvi on this machine ({fingerprint})"));
    params.not_before = (now - DAY).into();
    params.not_after = (now + CA_LIFE).into();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![
            GeneralSubtree::DnsName("localhost".to_owned()),
            GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([127, 0, 0, 0], 8)),
            GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix(
                Ipv6Addr::LOCALHOST.octets(),
                128,
            )),
        ],
        excluded_subtrees: Vec::new(),
    });
    Ok(params)
}

fn leaf_params(
    name: &str,
    addresses: &[IpAddr],
    now: SystemTime,
) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::new([name.to_owned()])?;
    let addresses = addresses.iter().copied().map(SanType::IpAddress);
    params.subject_alt_names.extend(addresses);
    params.distinguished_name = named("Pilvi");
    params.not_before = (now - DAY).into();
    params.not_after = (now + LEAF_LIFE).into();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    // A serial number is positive: its first bit is 0.
    let mut serial = random_bytes::<16>();
    serial[0] &= 0x7f;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// A server certificate and when to replace it.
struct Leaf {
    key: Arc<CertifiedKey>,
    renew_at: SystemTime,
}

/// Hands out server certificates and replaces each when a third of its life is left.
///
/// Names under `localhost` get certificates of their own when they are first asked for: a wildcard directly under
/// a top-level name is refused by most clients. So do the hosts of apps; a host that could be an app's and is none
/// gets the one of `localhost`, so that asking for names costs nothing.
struct Leaves {
    ca: Arc<LocalCa>,
    addresses: Vec<IpAddr>,
    own: Vec<String>,
    apps: Option<Edge>,
    /// By name, never more than [`LEAVES_MAX`]. A plain mutex: it is held for a look-up and now and then for one
    /// signature.
    made: Mutex<HashMap<String, Leaf>>,
}

impl ResolvesServerCert for Leaves {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let Some(asked) = hello.server_name().map(str::to_ascii_lowercase) else {
            return self.current(LOCALHOST);
        };
        if self.own.contains(&asked) {
            return self.current(&asked);
        }
        if let Some(apps) = self.apps.as_ref().filter(|apps| apps.owns(&asked)) {
            return match apps.certificate(&asked) {
                Some(uploaded) => Some(uploaded),
                None if apps.knows(&asked) => self.current(&asked),
                None => self.current(LOCALHOST),
            };
        }
        match asked.ends_with(".localhost") {
            true => self.current(&asked),
            false => self.current(LOCALHOST),
        }
    }
}

impl Leaves {
    /// Fails when not even a first certificate can be made.
    fn new(
        ca: Arc<LocalCa>,
        addresses: Vec<IpAddr>,
        own: Vec<String>,
        apps: Option<Edge>,
    ) -> Result<Self, CaError> {
        let first = ca.issue(LOCALHOST, &addresses)?;
        Ok(Self {
            ca,
            addresses,
            own,
            apps,
            made: Mutex::new(HashMap::from([(LOCALHOST.to_owned(), first)])),
        })
    }

    fn current(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.ca.clock.now();
        if let Some(leaf) = made.get(name)
            && now < leaf.renew_at
        {
            return Some(leaf.key.clone());
        }
        match self.ca.issue(name, &self.addresses) {
            Ok(leaf) => {
                if made.len() >= LEAVES_MAX {
                    made.clear();
                }
                let key = leaf.key.clone();
                made.insert(name.to_owned(), leaf);
                Some(key)
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "could not make a server certificate; an old one stays in use if there is one"
                );
                made.get(name).map(|leaf| leaf.key.clone())
            }
        }
    }
}

impl fmt::Debug for Leaves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaves")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Clock {
        Clock::manual(SystemTime::UNIX_EPOCH + Duration::from_secs(1_750_000_000))
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_authority_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let first = LocalCa::open_or_make(folder.path(), &clock()).unwrap();
        let again = LocalCa::open_or_make(folder.path(), &clock()).unwrap();
        assert_eq!(first.certificate_pem(), again.certificate_pem());
        assert_eq!(mode(first.certificate_path()), 0o644);
        assert_eq!(mode(&folder.path().join("ca.key")), 0o600);
    }

    #[test]
    fn a_certificate_is_made_again_for_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let ca = LocalCa::open_or_make(folder.path(), &clock()).unwrap();
        fs::remove_file(ca.certificate_path()).unwrap();
        LocalCa::open_or_make(folder.path(), &clock()).unwrap();
    }

    #[test]
    fn files_that_do_not_serve_are_refused() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in [&one, &other] {
            LocalCa::open_or_make(folder.path(), &clock()).unwrap();
        }
        let (pem, key) = (one.path().join("ca.pem"), one.path().join("ca.key"));
        let open = || LocalCa::open_or_make(one.path(), &clock()).unwrap_err();

        fs::copy(other.path().join("ca.pem"), &pem).unwrap();
        assert!(matches!(open(), CaError::Certificate { .. }));
        fs::write(&pem, "nonsense").unwrap();
        assert!(matches!(open(), CaError::Certificate { .. }));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(open(), CaError::Readable { mode: 0o640, .. }));
        fs::remove_file(&key).unwrap();
        assert!(matches!(open(), CaError::KeyMissing { .. }));
    }

    #[test]
    fn the_server_certificate_is_renewed_while_the_server_runs() {
        let folder = tempfile::tempdir().unwrap();
        let clock = clock();
        let ca = Arc::new(LocalCa::open_or_make(folder.path(), &clock).unwrap());
        let leaves =
            Leaves::new(ca, vec![IpAddr::V4(Ipv4Addr::LOCALHOST)], Vec::new(), None).unwrap();
        let current = || leaves.current(LOCALHOST).unwrap();
        let first = current();
        clock.advance(19 * DAY);
        assert!(Arc::ptr_eq(&first, &current()));
        clock.advance(2 * DAY);
        assert!(!Arc::ptr_eq(&first, &current()));
    }

    #[test]
    fn names_under_localhost_have_certificates_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let ca = Arc::new(LocalCa::open_or_make(folder.path(), &clock()).unwrap());
        let leaves = Leaves::new(ca, Vec::new(), Vec::new(), None).unwrap();
        let eds = leaves.current("eds.localhost").unwrap();
        assert!(Arc::ptr_eq(&eds, &leaves.current("eds.localhost").unwrap()));
        assert!(!Arc::ptr_eq(&eds, &leaves.current(LOCALHOST).unwrap()));
        for count in 0..2 * LEAVES_MAX {
            leaves.current(&format!("a{count}.localhost")).unwrap();
        }
        assert!(leaves.made.lock().unwrap().len() <= LEAVES_MAX);
    }

    #[test]
    fn the_authority_vouches_for_this_machine_only() {
        let folder = tempfile::tempdir().unwrap();
        let ca = LocalCa::open_or_make(folder.path(), &clock()).unwrap();
        let outside = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
        let leaf = ca.issue(LOCALHOST, &[outside]).unwrap();
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(ca.certificate_pem().as_bytes()).unwrap())
            .unwrap();
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), ca.provider.clone())
                .build()
                .unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(1_750_000_000));
        let name = ServerName::IpAddress(outside.into());
        let end = leaf.key.end_entity_cert().unwrap();
        assert!(
            verifier
                .verify_server_cert(end, &[], &name, &[], now)
                .is_err()
        );
    }
}
