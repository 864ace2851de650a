//! What may be pushed, and what of it is deployed (`mar.md` §4.1). Nothing here asks anybody: facts in, ruling out.

use crate::{Deploy, Rejected, Update};

/// The branches that are built, the first before the second.
const DEPLOY_BRANCHES: [&str; 2] = ["master", "main"];

/// Names that are listed in one line.
const NAMED_MAX: usize = 5;

/// The longest name of a branch or tag. It becomes a path of folders in folders, which later walks have to get through.
const NAME_BYTES_MAX: usize = 1000;

/// What the repository says about a push.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The full name of the branch that was deployed last.
    pub(crate) head: String,
    /// The full names of branches whose old commit is not part of the new history.
    pub(crate) rewritten: Vec<String>,
}

/// What is to happen with a push.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Ruling {
    /// Lines for the pusher.
    pub(crate) notes: Vec<String>,
    pub(crate) deploy: Option<Deploy>,
}

/// Applies the rules to a push.
pub(crate) fn judge(updates: &[Update], known: &Known) -> Result<Ruling, Rejected> {
    refuse(updates, known)?;
    let mut ruling = Ruling::default();
    let deployed = DEPLOY_BRANCHES
        .into_iter()
        .find_map(|branch| deploy_of(updates, branch));
    let is_deployed = |name: &str| {
        deployed
            .as_ref()
            .is_some_and(|deploy| branch_of(name) == Some(&deploy.branch))
    };

    for name in &known.rewritten {
        let branch = branch_of(name).unwrap_or(name);
        ruling.notes.push(format!(
            "The history of {branch} is replaced by the one that is pushed."
        ));
    }
    let stored = |prefix: &'static str| {
        updates
            .iter()
            .filter(|update| update.new.is_some() && !is_deployed(&update.name))
            .filter_map(move |update| update.name.strip_prefix(prefix))
            .collect::<Vec<_>>()
    };
    let branches = stored("refs/heads/");
    if !branches.is_empty() {
        ruling.notes.push(match &deployed {
            Some(deploy) => format!(
                "Stored, but not deployed: {}. Only {} is deployed by this push.",
                list(&branches),
                deploy.branch
            ),
            None => format!(
                "Stored, but not deployed: {}. Push to master or main to deploy.",
                list(&branches)
            ),
        });
    }
    let tags = stored("refs/tags/");
    if !tags.is_empty() {
        ruling.notes.push(format!("Stored tags: {}.", list(&tags)));
    }
    let deleted: Vec<_> = updates
        .iter()
        .filter(|update| update.new.is_none())
        .map(|update| short(&update.name))
        .collect();
    if !deleted.is_empty() {
        ruling.notes.push(format!("Deleted: {}.", list(&deleted)));
    }
    ruling.deploy = deployed;
    Ok(ruling)
}

fn refuse(updates: &[Update], known: &Known) -> Result<(), Rejected> {
    for update in updates {
        if update.new.is_some() && update.name.len() > NAME_BYTES_MAX {
            return Err(Rejected(format!(
                "A branch or tag has a name of more than {NAME_BYTES_MAX} bytes. Give it a shorter one."
            )));
        }
        if !update.name.starts_with("refs/heads/") && !update.name.starts_with("refs/tags/") {
            return Err(Rejected(format!(
                "Only branches and tags can be pushed here, and {} is neither. Leave it out of the push.",
                update.name
            )));
        }
        if update.new.is_none() && update.name == known.head {
            let branch = short(&update.name);
            return Err(Rejected(format!(
                "The branch {branch} is what is deployed and cannot be deleted. To stop the app, scale it to 0 \
                 processes or delete the app itself."
            )));
        }
    }
    Ok(())
}

fn deploy_of(updates: &[Update], branch: &str) -> Option<Deploy> {
    let update = updates
        .iter()
        .find(|update| branch_of(&update.name) == Some(branch))?;
    Some(Deploy {
        commit: update.new.clone()?,
        branch: branch.to_owned(),
        previous: update.old.clone(),
    })
}

fn branch_of(name: &str) -> Option<&str> {
    name.strip_prefix("refs/heads/")
}

/// A branch's or tag's own name.
fn short(name: &str) -> &str {
    branch_of(name)
        .or_else(|| name.strip_prefix("refs/tags/"))
        .unwrap_or(name)
}

/// `a, b and 3 more`.
fn list(names: &[&str]) -> String {
    let shown = names[..names.len().min(NAMED_MAX)].join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "1111111111111111111111111111111111111111";
    const B: &str = "2222222222222222222222222222222222222222";

    fn update(name: &str, old: Option<&str>, new: Option<&str>) -> Update {
        Update {
            name: name.to_owned(),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
        }
    }

    fn known() -> Known {
        Known {
            head: "refs/heads/master".to_owned(),
            rewritten: Vec::new(),
        }
    }

    fn judged(updates: &[Update]) -> Ruling {
        judge(updates, &known()).unwrap()
    }

    #[test]
    fn master_and_main_are_deployed_without_a_word() {
        for branch in ["master", "main"] {
            let name = format!("refs/heads/{branch}");
            let ruling = judged(&[update(&name, Some(A), Some(B))]);
            let deploy = Deploy {
                commit: B.to_owned(),
                branch: branch.to_owned(),
                previous: Some(A.to_owned()),
            };
            assert_eq!(ruling.deploy, Some(deploy));
            assert_eq!(ruling.notes, [""; 0]);
        }
    }

    #[test]
    fn of_both_master_is_deployed_and_main_is_stored() {
        let both = [
            update("refs/heads/main", None, Some(A)),
            update("refs/heads/master", None, Some(B)),
        ];
        let ruling = judged(&both);
        assert_eq!(ruling.deploy.unwrap().commit, B);
        let note = "Stored, but not deployed: main. Only master is deployed by this push.";
        assert_eq!(ruling.notes, [note]);
    }

    #[test]
    fn other_branches_and_tags_are_stored_with_a_line_each() {
        let mut updates: Vec<_> = (1..=7)
            .map(|number| update(&format!("refs/tags/v{number}"), None, Some(A)))
            .collect();
        updates.push(update("refs/heads/feature/a", None, Some(A)));
        let ruling = judged(&updates);
        assert_eq!(ruling.deploy, None);
        assert_eq!(
            ruling.notes,
            [
                "Stored, but not deployed: feature/a. Push to master or main to deploy.",
                "Stored tags: v1, v2, v3, v4, v5 and 2 more.",
            ]
        );
        // Only the branch of this very name counts.
        assert_eq!(
            judged(&[update("refs/tags/master", None, Some(A))]).deploy,
            None
        );
        assert_eq!(
            judged(&[update("refs/heads/x/master", None, Some(A))]).deploy,
            None
        );
    }

    #[test]
    fn the_deployed_branch_cannot_be_deleted_and_others_can() {
        let rejected = judge(&[update("refs/heads/master", Some(A), None)], &known()).unwrap_err();
        assert!(
            rejected.0.contains("The branch master is what is deployed"),
            "{rejected:?}"
        );
        let ruling = judged(&[
            update("refs/heads/main", Some(A), None),
            update("refs/tags/v1", Some(A), None),
        ]);
        assert_eq!(ruling.deploy, None);
        assert_eq!(ruling.notes, ["Deleted: main, v1."]);
    }

    #[test]
    fn a_rewritten_branch_is_said_and_deployed() {
        let known = Known {
            rewritten: vec!["refs/heads/master".to_owned()],
            ..known()
        };
        let ruling = judge(&[update("refs/heads/master", Some(A), Some(B))], &known).unwrap();
        assert!(ruling.deploy.is_some());
        let note = "The history of master is replaced by the one that is pushed.";
        assert_eq!(ruling.notes, [note]);
    }

    #[test]
    fn a_name_of_folders_without_end_is_refused_and_can_be_deleted() {
        let name = format!("refs/heads/{}a", "a/".repeat(600));
        let rejected = judge(&[update(&name, None, Some(A))], &known()).unwrap_err();
        assert!(rejected.0.contains("1000 bytes"), "{rejected:?}");
        assert!(!rejected.0.contains("a/a/a"), "{rejected:?}");
        judged(&[update(&name, Some(A), None)]);
        judged(&[update(&name[..1000], None, Some(A))]);
    }

    #[test]
    fn what_is_neither_branch_nor_tag_is_refused() {
        for name in ["refs/remotes/origin/master", "refs/notes/commits", "HEAD"] {
            let rejected = judge(&[update(name, None, Some(A))], &known()).unwrap_err();
            assert!(rejected.0.contains(name), "{rejected:?}");
        }
    }
}
