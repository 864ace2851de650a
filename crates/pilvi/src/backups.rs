//! Backups where no server is needed: looking into one, and making a server's folder of one.
//!
//! The archive of a server has its parts by instance; a data folder has them by service. So a restored folder is laid
//! out here, where all services are known. It gets its name when everything in it was compared and is on disk: whatever
//! interrupts it, there is no folder that looks like a server's and is not one.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use anyhow::{Context, bail};
use pilvi_backup::{Bounds, Kind, Manifest, Origin, Staging, Unpacked, file_context};
use pilvi_base::Keyring;
use pilvi_base::secret::write_new;
use pilvi_cli::{Local, LocalKey};
use pilvi_core::portable::{Secrets, Unopened};
use pilvi_eds::portable::Resealing as EdsResealing;
use pilvi_git::Repositories;
use pilvi_mar::portable::Resealing as MarResealing;
use pilvi_model::BackendId;
use pilvi_platform::{BackupPlaces, DATABASE, INSTANCES, KEY, counts_of};
use pilvi_store::Store;
use pilvi_store::snapshot::{self, DatabaseKind};
use serde_json::json;

use crate::keys;

/// How the server's own private files are called in an archive.
const PRIVATE: &str = "private";
/// Archives that are brought to a server may be so large.
const RESTORE_BYTES_MAX: u64 = 256 << 30;

/// Where the backups of a running server find what belongs to no instance.
pub(crate) fn places(data: &Path) -> BackupPlaces {
    let mut private = vec!["ssh_host_ed25519_key".to_owned()];
    let ca = fs::read_dir(data.join("ca")).into_iter().flatten();
    private.extend(ca.filter_map(|entry| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        pilvi_backup::is_plain_path(&name).then(|| format!("ca/{name}"))
    }));
    let private = private
        .into_iter()
        .filter(|name| data.join(name).is_file())
        .map(|name| (format!("{PRIVATE}/{name}"), data.join(name)))
        .collect();
    let stacks = fs::read_dir(data.join("stacks")).into_iter().flatten();
    let stacks = stacks.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut left_out: Vec<String> = stacks
        .map(|stack| format!("the stack {stack}; make it again with `pilvi stack create {stack}`"))
        .collect();
    left_out.sort();
    left_out
        .push("what apps and their builds wrote: their logs and the caches of builds".to_owned());
    left_out.push("mails that were written into files".to_owned());
    BackupPlaces {
        staging: data.join("staging"),
        private,
        key: keys::key_file(data),
        left_out,
        restore_bytes_max: RESTORE_BYTES_MAX,
    }
}

pub(crate) async fn run(local: &Local) -> anyhow::Result<()> {
    match local {
        Local::Verify { file, key, json } => verify(file, key.as_deref(), *json),
        Local::Restore {
            file,
            to,
            key,
            json,
        } => restore(file, to, key, *json).await,
    }
}

/// Compares everything in an archive, and looks into its databases.
fn verify(file: &Path, key: Option<&Path>, json: bool) -> anyhow::Result<()> {
    let place = file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let staging = staging_in(&[place, &std::env::temp_dir()])?;
    let unpacked = unpack(file, staging.path())?;
    let manifest = &unpacked.manifest;
    check_databases(staging.path(), manifest)?;
    let keyring = match key {
        Some(key) => Some(Keyring::open(key)?),
        None => archived_key(staging.path(), manifest)?,
    };
    let origin = match &keyring {
        None => "the key file was not at hand, so its signature was not looked at",
        Some(keyring) => match unpacked.origin(keyring) {
            Origin::Ours => "the signature is that of the server's keys",
            Origin::Unknown => bail!(
                "the archive is whole, but it is not as the server with these keys made it: it was changed, or is \
                 another server's"
            ),
        },
    };
    let secrets = keyring.map(|keyring| keyring.seal_id() == manifest.seal_key);
    let rows: u64 = manifest
        .databases
        .values()
        .flat_map(|counts| counts.tables.values())
        .sum();
    if json {
        println!(
            "{}",
            json!({
                "kind": match manifest.kind { Kind::Server(_) => "server", Kind::Instance(_) => "instance" },
                "createdAt": manifest.created_at,
                "version": manifest.version,
                "files": manifest.files.len(),
                "bytes": manifest.bytes(),
                "databases": manifest.databases,
                "leftOut": manifest.left_out,
                "secretsOpen": secrets,
            })
        );
        return Ok(());
    }
    println!("{} holds {}.", file.display(), manifest.title());
    println!(
        "It was made at {} by version {}.",
        manifest.created_at, manifest.version
    );
    println!(
        "All {} files are as they were, and {} databases with {rows} rows are sound; {origin}.",
        manifest.files.len(),
        manifest.databases.len()
    );
    if secrets == Some(false) {
        println!(
            "Its secrets are sealed with other keys than these: those with the name {}.",
            manifest.seal_key
        );
    }
    for what in &manifest.left_out {
        println!("Not in it: {what}.");
    }
    Ok(())
}

/// A folder for what is unpacked, in the first of these places that takes one.
fn staging_in(places: &[&Path]) -> anyhow::Result<Staging> {
    let mut last = None;
    for place in places {
        match Staging::new(place) {
            Ok(staging) => return Ok(staging),
            Err(error) => last = Some((place, error)),
        }
    }
    let (place, error) = last.context("there is no place to unpack to")?;
    Err(error).with_context(|| format!("could not make a folder in `{}`", place.display()))
}

fn unpack(file: &Path, folder: &Path) -> anyhow::Result<Unpacked> {
    let opened =
        File::open(file).with_context(|| format!("could not open `{}`", file.display()))?;
    let reader = BufReader::with_capacity(1 << 20, opened);
    pilvi_backup::unpack(reader, folder, Bounds::default())
        .with_context(|| format!("`{}` cannot be used", file.display()))
}

fn check_databases(folder: &Path, manifest: &Manifest) -> anyhow::Result<()> {
    for (path, counts) in &manifest.databases {
        if manifest.file(path).is_none() {
            bail!("the archive counts what is in `{path}` and does not hold it");
        }
        let kind = match path == DATABASE {
            true => DatabaseKind::Platform,
            false => DatabaseKind::Backend,
        };
        let place = folder.join(path);
        snapshot::check(&place, kind)?;
        if counts_of(snapshot::inspect(&place)?) != *counts {
            bail!("the database `{path}` holds other rows than when the backup was made");
        }
    }
    Ok(())
}

fn archived_key(folder: &Path, manifest: &Manifest) -> anyhow::Result<Option<Keyring>> {
    match manifest.file(KEY) {
        Some(_) => Ok(Some(Keyring::open(&folder.join(KEY))?)),
        None => Ok(None),
    }
}

/// Makes a server's folder of an archive.
async fn restore(file: &Path, to: &Path, key: &LocalKey, json: bool) -> anyhow::Result<()> {
    check_free(to)?;
    let parent = match to.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => parent,
        None => Path::new("."),
    };
    fs::create_dir_all(parent)
        .with_context(|| format!("could not make the folder `{}`", parent.display()))?;
    let staging = Staging::new(parent)
        .with_context(|| format!("could not make a folder in `{}`", parent.display()))?;
    let archive = staging.folder("archive")?;
    let unpacked = unpack(file, &archive)?;
    let manifest = &unpacked.manifest;
    if let Kind::Instance(instance) = &manifest.kind {
        bail!(
            "this is the backup of one instance, {}; restore it into a running server, without --to",
            instance.id
        );
    }
    check_databases(&archive, manifest)?;
    let keyring = choose_key(&unpacked, &archive, key)?;

    let data = staging.folder("data")?;
    lay_out(&archive, &data, manifest).await?;
    restore_private(&archive, &data, manifest, &keyring)?;
    write_new(
        &keys::key_file(&data),
        keyring.to_file().expose().as_bytes(),
    )
    .context("could not write the key file")?;
    let lost = open_all(&data, &keyring, key).await?;

    fs::remove_dir_all(&archive)?;
    staging
        .keep(&data, to)
        .with_context(|| format!("could not make `{}`", to.display()))?;
    if json {
        println!(
            "{}",
            json!({"data": to.display().to_string(), "createdAt": manifest.created_at, "missing": lost})
        );
        return Ok(());
    }
    for what in &lost {
        println!("{what}");
    }
    println!(
        "Restored {} from {}, as it was at {}.",
        manifest.title(),
        file.display(),
        manifest.created_at
    );
    println!("Start it with: pilvi serve --data {}", to.display());
    Ok(())
}

fn check_free(to: &Path) -> anyhow::Result<()> {
    match fs::read_dir(to) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => bail!(
                "`{}` is not empty; name a folder that is not there yet, since nothing is ever restored over something",
                to.display()
            ),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("could not look into `{}`", to.display())),
    }
}

/// The keys of the restored server.
fn choose_key(unpacked: &Unpacked, archive: &Path, key: &LocalKey) -> anyhow::Result<Keyring> {
    let manifest = &unpacked.manifest;
    let keyring = match key {
        LocalKey::New => return Ok(Keyring::from_bytes(pilvi_base::secret::random_bytes())),
        LocalKey::File(file) => Keyring::open(file)?,
        LocalKey::Archived => match archived_key(archive, manifest)? {
            Some(keyring) => keyring,
            None => bail!(
                "the backup does not hold the server's keys, and without them its secrets stay closed: {}. Name the \
                 file `secret.key` of that server with --key FILE, or go on without with --without-key",
                sealed_in_words(manifest)
            ),
        },
    };
    if unpacked.origin(&keyring) == Origin::Unknown {
        bail!(
            "the archive was not made by a server with these keys, or was changed since; name the key file that \
             belongs to it with --key FILE"
        );
    }
    if keyring.seal_id() != manifest.seal_key {
        bail!(
            "the secrets in the backup are sealed with older keys, named {}, and these are {}; name the key file of \
             that time with --key FILE",
            manifest.seal_key,
            keyring.seal_id()
        );
    }
    Ok(keyring)
}

/// What is lost without the keys.
fn sealed_in_words(manifest: &Manifest) -> String {
    let rows = |database: &str, table: &str| {
        let counts = manifest.databases.get(database);
        counts
            .and_then(|counts| counts.tables.get(table))
            .copied()
            .unwrap_or(0)
    };
    let webhooks: u64 = manifest
        .databases
        .keys()
        .map(|database| rows(database, "webhooks"))
        .sum();
    format!(
        "the config vars of apps ({}), of their releases ({}), the keys of their certificates ({}), the headers of \
         webhooks ({webhooks}), the server's own certificate authority and SSH host key, and all account tokens and \
         security tokens",
        rows(DATABASE, "app_vars"),
        rows(DATABASE, "releases"),
        rows(DATABASE, "certificates"),
    )
}

/// Puts everything where a server looks for it.
async fn lay_out(archive: &Path, data: &Path, manifest: &Manifest) -> anyhow::Result<()> {
    let [eds, mar] = ["eds", "mar"].map(|name| data.join(name));
    for folder in [&eds, &mar] {
        fs::DirBuilder::new().mode(0o700).create(folder)?;
    }
    move_file(&archive.join(DATABASE), &data.join(DATABASE))?;
    let blobs = crate::blobs::restored(data).await?;
    let mut bundles = BTreeMap::new();
    for record in &manifest.files {
        let mut names = record.path.splitn(3, '/');
        if names.next() != Some(INSTANCES) {
            continue;
        }
        let (Some(id), Some(name)) = (names.next(), names.next()) else {
            bail!("the archive holds `{}`, which belongs nowhere", record.path);
        };
        let from = archive.join(&record.path);
        if name == pilvi_eds::portable::DATABASE {
            let backend: BackendId = id.parse()?;
            move_file(&from, &eds.join(format!("{backend}.db")))?;
        } else if let Some(digest) = pilvi_eds::portable::digest_of(name) {
            let blob = pilvi_model::Blob {
                digest,
                bytes: record.bytes,
            };
            blobs.take_in(id.parse()?, &from, blob).await?;
        } else if name == pilvi_mar::portable::REPOSITORY {
            bundles.insert(id.to_owned(), from);
        } else if let Some(slug) = name.strip_prefix(pilvi_mar::portable::SLUGS) {
            let app: pilvi_model::AppId = id.parse()?;
            let slugs = mar.join(app.as_str()).join("slugs");
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&slugs)?;
            move_file(&from, &slugs.join(slug.trim_start_matches('/')))?;
        } else {
            bail!("the archive holds `{}`, which belongs nowhere", record.path);
        }
    }
    if bundles.is_empty() {
        return Ok(());
    }
    let repositories = Repositories::open(&mar)?;
    for (app, bundle) in bundles {
        repositories.create(&app).await?;
        repositories.unbundle(&app, &bundle).await?;
    }
    Ok(())
}

fn move_file(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::rename(from, to).with_context(|| format!("could not put `{}` in its place", to.display()))
}

/// Opens the server's own private files. Without its keys there are none, and the server makes new ones.
fn restore_private(
    archive: &Path,
    data: &Path,
    manifest: &Manifest,
    keyring: &Keyring,
) -> anyhow::Result<()> {
    if keyring.seal_id() != manifest.seal_key {
        return Ok(());
    }
    for record in manifest.files.iter().filter(|record| record.sealed) {
        let path = &record.path;
        let name = path
            .strip_prefix(PRIVATE)
            .and_then(|name| name.strip_prefix('/'))
            .with_context(|| format!("the archive holds `{path}`, which belongs nowhere"))?;
        let plain = keyring.open_sealed(&file_context(path), &fs::read(archive.join(path))?)?;
        let place = data.join(name);
        if let Some(folder) = place.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        write_new(&place, &plain)
            .with_context(|| format!("could not write `{}`", place.display()))?;
    }
    Ok(())
}

/// Brings the databases into the form that this version keeps, and looks whether every secret opens. Returns in
/// sentences what does not.
async fn open_all(data: &Path, keyring: &Keyring, key: &LocalKey) -> anyhow::Result<Vec<String>> {
    let store = Store::open(data, pilvi_store::Limits::default()).await?;
    let mut lost = Vec::new();
    let (mut backends, mut with_webhooks) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(data.join("eds"))? {
        let name = entry?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".db")) else {
            continue;
        };
        let backend: BackendId = id.parse()?;
        backends.push(backend);
        if !store
            .backend(backend)
            .list_sealed_headers()
            .await?
            .is_empty()
        {
            with_webhooks.push(backend);
        }
    }
    // A webhook may be younger than the copy of the platform's database.
    for backend in &with_webhooks {
        store.note_webhooks_of(*backend).await?;
    }
    // So may a file.
    for backend in &backends {
        store.note_files_of(*backend).await?;
        let (now, backend) = (pilvi_base::Clock::system().now(), store.backend(*backend));
        let unfinished = pilvi_eds::portable::remove_unfinished_files(&backend, now.into()).await?;
        lost.extend(pilvi_eds::portable::unfinished_in_words(unfinished));
    }
    let policy = match key {
        LocalKey::New => Unopened::Remove,
        LocalKey::Archived | LocalKey::File(_) => Unopened::Keep,
    };
    for backend in with_webhooks {
        let unopened = pilvi_eds::portable::reseal(
            &store,
            keyring,
            backend,
            EdsResealing::at_home(backend, policy),
        )
        .await?;
        lost.extend(unopened.iter().map(|lost| lost.in_words(Secrets::Open)));
    }
    for app in store.list_app_ids().await? {
        let places =
            pilvi_mar::portable::reseal(&store, keyring, &app, MarResealing::at_home(&app, policy))
                .await?;
        lost.extend(places.iter().map(|place| {
            format!(
                "{app}: {}",
                pilvi_mar::portable::lost_in_words(place, Secrets::Open)
            )
        }));
    }
    for gateway in keys::reseal_gateways(&store, keyring, policy).await? {
        lost.push(format!(
            "{gateway}: the secret of its events is {}; make a new one",
            Secrets::Open.why_lost()
        ));
    }
    if matches!(key, LocalKey::New) {
        let changed = pilvi_platform::renew_derived_tokens(&store, keyring).await?;
        lost.push(format!(
            "{changed} account tokens and security tokens changed; whoever uses one has to read it again."
        ));
    }
    store.settle(&backends).await?;
    Ok(lost)
}
