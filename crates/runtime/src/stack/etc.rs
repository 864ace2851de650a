//! The `/etc` of a sandbox: a few files of our own, and of the stack's those that programs need.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::root::bind;
use crate::spec::{Door, File, GATEWAY, INSIDE_ID, StackRoot};

/// What is shown of the stack's `/etc`, when it is there and every user may read it. The list says what may be seen and
/// not what must be hidden: keys, passwords, the machine's id and the settings of the host's services stay out.
const SHOWN: [&str; 30] = [
    // Where the loader finds libraries, and which program a name stands for.
    "alternatives",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    // Whom TLS trusts. Private keys lie in a folder beside these.
    "ca-certificates.conf",
    "pki/tls/certs",
    "ssl/certs",
    "ssl/openssl.cnf",
    // Names of protocols, services and kinds of files.
    "ethertypes",
    "gai.conf",
    "magic",
    "magic.mime",
    "mime.types",
    "protocols",
    "rpc",
    "services",
    // Fonts, terminals, time and languages.
    "fonts",
    "inputrc",
    "locale.alias",
    "terminfo",
    "vulkan",
    "glvnd",
    // Languages and tools with settings there.
    "ImageMagick-6",
    "java-17-openjdk",
    "java-21-openjdk",
    "perl",
    "python3",
    "python3.11",
    "python3.13",
    "xdg/QtProject",
];

/// What holds for every system.
const NSSWITCH: &str = "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\n\
                        protocols: files\nservices: files\nethers: files\nrpc: files\n";

/// The user of every program in a sandbox has its home where the app lies.
fn passwd() -> String {
    format!(
        "root:x:0:0:root:/root:/usr/sbin/nologin\n\
         app:x:{INSIDE_ID}:{INSIDE_ID}:app:/app:/bin/bash\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    )
}

fn group() -> String {
    format!("root:x:0:\ntty:x:5:\napp:x:{INSIDE_ID}:\nnogroup:x:65534:\n")
}

/// Adds the `/etc` of the system below `top`.
pub(super) fn show(top: &Path, root: &mut StackRoot) {
    let etc = top.join("etc");
    for name in SHOWN {
        // A link would be followed on the host; what it stands for is shown in its place.
        if let Ok(path) = fs::canonicalize(etc.join(name))
            && path.starts_with(top)
            && may_all_read(&path)
        {
            root.binds.push(bind(&format!("/etc/{name}"), path));
        }
    }
    if let Some(zone) = time_zone(&etc) {
        root.links.push(("/etc/localtime".into(), zone));
    }
    for name in ["os-release", "debian_version"] {
        if let Ok(text) = fs::read(etc.join(name)) {
            root.files.push(file(name, text));
        }
    }
    root.files.extend([
        file("passwd", passwd().into_bytes()),
        file("group", group().into_bytes()),
        file("nsswitch.conf", NSSWITCH.into()),
        file("host.conf", "multi on\n".into()),
        file("shells", "/bin/sh\n/bin/bash\n".into()),
        file("resolv.conf", Vec::new()),
        hosts("sandbox", &[]),
    ]);
}

/// `/etc/hosts`: the sandbox itself, and the names of Pilvi's own doors.
pub(crate) fn hosts(hostname: &str, doors: &[Door]) -> File {
    let mut text = format!(
        "127.0.0.1 localhost {hostname}\n\
         ::1 localhost ip6-localhost ip6-loopback\n"
    );
    let mut told: Vec<&str> = Vec::new();
    for name in doors.iter().flat_map(|door| &door.names) {
        // The same name may lead to several ports.
        if !told.contains(&name.as_str()) {
            told.push(name);
            let _ = writeln!(text, "{GATEWAY} {name}");
        }
    }
    file("hosts", text.into_bytes())
}

/// Where the stack keeps the rules of its time zone; a path within `/usr`, which every sandbox has.
fn time_zone(etc: &Path) -> Option<String> {
    let target = fs::read_link(etc.join("localtime")).ok()?;
    let target = target.to_str()?;
    target
        .starts_with("/usr/share/zoneinfo/")
        .then(|| target.to_owned())
}

fn may_all_read(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|about| {
        let needed = if about.is_dir() { 0o005 } else { 0o004 };
        about.permissions().mode() & needed == needed
    })
}

fn file(name: &str, content: Vec<u8>) -> File {
    File {
        at: format!("/etc/{name}"),
        content,
        mode: 0o644,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(root: &StackRoot, at: &str) -> String {
        let file = root.files.iter().find(|file| file.at == at).unwrap();
        String::from_utf8(file.content.clone()).unwrap()
    }

    #[test]
    fn secrets_of_the_stack_are_not_shown() {
        let top = tempfile::tempdir().unwrap();
        let top = top.path().canonicalize().unwrap();
        let etc = top.join("etc");
        for folder in ["ssl/certs", "ssl/private", "ssh"] {
            fs::create_dir_all(etc.join(folder)).unwrap();
        }
        for name in ["shadow", "machine-id", "ssh/ssh_host_key", "services"] {
            fs::write(etc.join(name), "x").unwrap();
        }
        // Chosen, but somebody has closed it.
        fs::write(etc.join("rpc"), "x").unwrap();
        fs::set_permissions(etc.join("rpc"), fs::Permissions::from_mode(0o600)).unwrap();
        let mut root = StackRoot::default();
        show(&top, &mut root);
        let shown: Vec<&str> = root.binds.iter().map(|bind| bind.at.as_str()).collect();
        assert_eq!(shown, ["/etc/ssl/certs", "/etc/services"]);
    }

    #[test]
    fn a_link_that_leads_out_of_the_stack_is_not_followed() {
        let top = tempfile::tempdir().unwrap();
        let top = top.path().canonicalize().unwrap();
        fs::create_dir(top.join("etc")).unwrap();
        std::os::unix::fs::symlink("/etc", top.join("etc/fonts")).unwrap();
        let mut root = StackRoot::default();
        show(&top, &mut root);
        assert!(root.binds.is_empty());
    }

    #[test]
    fn the_user_inside_has_a_name_and_a_home() {
        let top = tempfile::tempdir().unwrap();
        let mut root = StackRoot::default();
        show(top.path(), &mut root);
        assert!(text_of(&root, "/etc/passwd").contains("app:x:5000:5000:app:/app:/bin/bash"));
        assert!(text_of(&root, "/etc/group").contains("app:x:5000:"));
    }

    #[test]
    fn hosts_name_each_door_once() {
        let door = |port, name: &str| Door {
            port,
            names: vec![name.to_owned()],
        };
        let doors = [door(80, "api.pilvi.test"), door(443, "api.pilvi.test")];
        let text = String::from_utf8(hosts("web-1", &doors).content).unwrap();
        assert_eq!(text.matches("api.pilvi.test").count(), 1);
        assert!(text.contains("127.0.80.1 api.pilvi.test\n"));
        assert!(text.starts_with("127.0.0.1 localhost web-1\n"));
    }
}
