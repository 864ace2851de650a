//! Options of files.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use pilvi_base::Secret;
use pilvi_blobs::S3Settings;
use pilvi_eds::{Ages, Workspace};

use super::values::parse_secret;

/// What becomes of the files that are uploaded.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Files")]
pub(crate) struct FileOptions {
    /// Keep the bytes of files here, in a folder or as s3://BUCKET/PREFIX; without it they are in the folder `files` of
    /// the data folder
    #[arg(long, value_name = "PLACE", env = "PILVI_FILES", value_parser = parse_place)]
    pub files: Option<FilePlace>,
    /// The address of the service that has the bucket, such as `https://minio.example.org`; without it Amazon's
    #[arg(long, value_name = "URL", env = "PILVI_S3_ENDPOINT", value_parser = parse_endpoint)]
    pub s3_endpoint: Option<String>,
    /// The region of the bucket
    #[arg(
        long,
        value_name = "REGION",
        env = "PILVI_S3_REGION",
        default_value = "us-east-1"
    )]
    pub s3_region: String,
    /// The key that opens the bucket
    #[arg(long, value_name = "ID", env = "PILVI_S3_ACCESS_KEY_ID")]
    pub s3_access_key_id: Option<String>,
    /// The secret that goes with the key. Prefer the environment: others can read a command line
    #[arg(
        long,
        value_name = "SECRET",
        env = "PILVI_S3_SECRET_ACCESS_KEY",
        hide_env_values = true,
        value_parser = parse_secret
    )]
    pub s3_secret_access_key: Option<Secret>,
    /// Take files of at most so many MiB
    #[arg(
        long,
        value_name = "MIB",
        env = "PILVI_FILE_MAX_MIB",
        default_value_t = 1024,
        value_parser = clap::value_parser!(u32).range(1..=1 << 20)
    )]
    pub file_max_mib: u32,
    /// So many MB of memory for images while smaller ones are made of them; one that takes more gets none
    #[arg(
        long,
        value_name = "MB",
        env = "PILVI_IMAGE_MEMORY",
        default_value_t = 256,
        value_parser = clap::value_parser!(u32).range(16..=64 << 10)
    )]
    pub image_memory: u32,
    /// Keep files that no object names, and uploads that nobody goes on with, for so many hours
    #[arg(
        long,
        value_name = "HOURS",
        env = "PILVI_KEEP_ORPHANS",
        default_value_t = 24,
        value_parser = clap::value_parser!(u32).range(1..=24 * 366)
    )]
    pub keep_orphans: u32,
}

/// Where the bytes of files are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FilePlace {
    Folder(PathBuf),
    Bucket { bucket: String, prefix: String },
}

fn parse_place(text: &str) -> Result<FilePlace, String> {
    let Some(name) = text.strip_prefix("s3://") else {
        return match text.contains("://") || text.trim().is_empty() {
            true => Err("is neither a folder nor s3://BUCKET/PREFIX".to_owned()),
            false => Ok(FilePlace::Folder(PathBuf::from(text))),
        };
    };
    let (bucket, prefix) = name.split_once('/').unwrap_or((name, ""));
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let is_bucket = (3..=63).contains(&bucket.len()) && bucket.bytes().all(is_plain);
    let is_prefix = prefix.bytes().all(|byte| is_plain(byte) || byte == b'/');
    match is_bucket && is_prefix {
        true => Ok(FilePlace::Bucket {
            bucket: bucket.to_owned(),
            prefix: prefix.trim_matches('/').to_owned(),
        }),
        false => Err("is no bucket such as s3://my-files or s3://my-files/pilvi".to_owned()),
    }
}

fn parse_endpoint(text: &str) -> Result<String, String> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    match rest.map(|rest| rest.trim_end_matches('/')) {
        Some(host) if !host.is_empty() && !host.contains(['/', '?', '#', '@']) => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err("is no address such as https://minio.example.org".to_owned()),
    }
}

impl FileOptions {
    /// The bucket that files are kept in, if they are. The error names a setting that is missing.
    pub(crate) fn bucket(&self) -> Result<Option<S3Settings>, &'static str> {
        let Some(FilePlace::Bucket { bucket, prefix }) = &self.files else {
            return Ok(None);
        };
        let id = self.s3_access_key_id.clone();
        let secret = self.s3_secret_access_key.clone();
        Ok(Some(S3Settings {
            bucket: bucket.clone(),
            prefix: prefix.clone(),
            endpoint: self.s3_endpoint.clone(),
            region: self.s3_region.clone(),
            access_key_id: id.ok_or("s3-access-key-id")?,
            secret_access_key: secret.ok_or("s3-secret-access-key")?,
            session_token: None,
        }))
    }

    /// How large a file may be.
    pub(crate) fn file_bytes_max(&self) -> u64 {
        u64::from(self.file_max_mib) << 20
    }

    /// What making smaller images may use.
    pub(crate) fn workspace(&self) -> Workspace {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let processors = u32::try_from(processors).unwrap_or(u32::MAX);
        Workspace::new(processors, u64::from(self.image_memory) << 20)
    }

    /// When files that nobody needs are removed.
    pub(crate) fn ages(&self) -> Ages {
        Ages::new(Duration::from_secs(u64::from(self.keep_orphans) * 60 * 60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_folder_or_a_bucket() {
        let bucket = |bucket: &str, prefix: &str| {
            Ok(FilePlace::Bucket {
                bucket: bucket.to_owned(),
                prefix: prefix.to_owned(),
            })
        };
        assert_eq!(parse_place("s3://files"), bucket("files", ""));
        assert_eq!(parse_place("s3://files/"), bucket("files", ""));
        assert_eq!(parse_place("s3://files/a/b/"), bucket("files", "a/b"));
        let folder = |path: &str| Ok(FilePlace::Folder(PathBuf::from(path)));
        assert_eq!(parse_place("/srv/files"), folder("/srv/files"));
        assert_eq!(parse_place("files"), folder("files"));
        for wrong in [
            "",
            " ",
            "s3://",
            "s3://a",
            "s3://files/a?b",
            "gs://files",
            "s3://files/ä",
        ] {
            assert!(parse_place(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_endpoint_is_an_address_and_nothing_behind_it() {
        let found = parse_endpoint("http://127.0.0.1:9000/");
        assert_eq!(found.unwrap(), "http://127.0.0.1:9000");
        for wrong in [
            "",
            "minio",
            "https://",
            "https://a/b",
            "https://key:secret@a",
        ] {
            assert!(parse_endpoint(wrong).is_err(), "{wrong}");
        }
    }
}
