//! Where the bytes of files are kept.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use pilvi_base::TaskGroup;
use pilvi_base::disk::Reserve;
use pilvi_blobs::Blobs;

use crate::arguments::{FileOptions, FilePlace};

/// The folder of files in a data folder.
const FOLDER: &str = "files";
/// Where files are gathered that are on their way to a bucket.
const DRAFTS: &str = "drafts";

/// The folder of files, if they are in one.
pub(crate) fn folder(options: &FileOptions, data: &Path) -> Option<PathBuf> {
    match &options.files {
        None => Some(data.join(FOLDER)),
        Some(FilePlace::Folder(path)) => Some(path.clone()),
        Some(FilePlace::Bucket { .. }) => None,
    }
}

/// Opens the place, and clears away what an earlier run left under way.
pub(crate) async fn open(
    options: &FileOptions,
    data: &Path,
    reserve: Reserve,
    tasks: &TaskGroup,
) -> anyhow::Result<Blobs> {
    let missing = |setting| anyhow!("files are to be in a bucket, and `{setting}` is missing");
    let Some(bucket) = options.bucket().map_err(missing)? else {
        let folder = folder(options, data).unwrap_or_else(|| data.join(FOLDER));
        return open_folder(&folder, reserve).await;
    };
    let drafts = data.join(FOLDER).join(DRAFTS);
    let blobs = Blobs::s3(&bucket, &drafts, reserve).await?;
    let probed = blobs.clone();
    // Everything else goes on without files, so a bucket that does not answer holds up nothing.
    tasks.spawn("look into the bucket", async move {
        if let Err(error) = probed.probe().await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                bucket = bucket.bucket,
                "files can be neither read nor written; see `pilvi doctor`"
            );
        }
    });
    Ok(blobs)
}

/// The folder of files of a server that is being restored. There is nobody else whose share of the disk is to be kept.
pub(crate) async fn restored(data: &Path) -> anyhow::Result<Blobs> {
    let none = Reserve {
        bytes: 0,
        percent: 0,
    };
    open_folder(&data.join(FOLDER), none).await
}

async fn open_folder(folder: &Path, reserve: Reserve) -> anyhow::Result<Blobs> {
    let opened = Blobs::folder(folder, reserve).await;
    opened.with_context(|| format!("could not open the folder of files `{}`", folder.display()))
}
