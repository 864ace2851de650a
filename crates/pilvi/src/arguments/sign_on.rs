//! Options of single sign-on.

use clap::Args;
use pilvi_base::Secret;
use pilvi_model::{Error, Result};
use pilvi_platform::ProviderSettings;

use super::values::parse_secret;

/// With which accounts of others people may sign in. Several providers are several values of each option, in the same
/// order.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Single sign-on")]
pub(crate) struct SignOnOptions {
    /// Let people sign in at this provider of OpenID Connect, such as `https://id.example.org`; register the address
    /// `/console/oidc/NAME/callback` of this server there; may be given several times
    #[arg(
        long = "oidc-issuer",
        value_name = "URL",
        env = "PILVI_OIDC_ISSUERS",
        value_delimiter = ',',
        value_parser = parse_issuer
    )]
    pub issuers: Vec<String>,
    /// What the provider calls this server; one for each issuer
    #[arg(
        long = "oidc-client-id",
        value_name = "ID",
        env = "PILVI_OIDC_CLIENT_IDS",
        value_delimiter = ','
    )]
    pub client_ids: Vec<String>,
    /// What this server proves itself with to the provider; one for each issuer, with blanks between them, or none at
    /// all. Prefer the environment: others can read a command line
    #[arg(
        long = "oidc-client-secret",
        value_name = "SECRET",
        env = "PILVI_OIDC_CLIENT_SECRETS",
        hide_env_values = true,
        value_delimiter = ' ',
        value_parser = parse_secret
    )]
    pub client_secrets: Vec<Secret>,
    /// What people know the provider by, which is NAME in its callback, too, in small letters and hyphens; one for each
    /// issuer, or none at all [default: the issuer's host]
    #[arg(
        long = "oidc-name",
        value_name = "NAME",
        env = "PILVI_OIDC_NAMES",
        value_delimiter = ','
    )]
    pub names: Vec<String>,
}

impl SignOnOptions {
    /// The providers, in the order in which they are given.
    ///
    /// # Errors
    /// The option to change, and why.
    pub(crate) fn providers(&self) -> Result<Vec<ProviderSettings>> {
        let count = self.issuers.len();
        let each = |option: &str, found: usize, may_lack: bool| match found {
            0 if may_lack => Ok(()),
            found if found == count => Ok(()),
            found => Err(Error::invalid(
                option,
                format!(
                    "is given {found} times for {count} issuers; give one for each, in the same order"
                ),
            )),
        };
        each("oidc-client-id", self.client_ids.len(), false)?;
        each("oidc-client-secret", self.client_secrets.len(), true)?;
        each("oidc-name", self.names.len(), true)?;
        let providers = self.issuers.iter().zip(&self.client_ids).enumerate();
        let providers = providers.map(|(at, (issuer, client_id))| {
            let name = self.names.get(at).map(String::as_str);
            ProviderSettings::new(
                issuer,
                client_id,
                self.client_secrets.get(at).cloned(),
                name,
            )
        });
        let providers = providers.collect::<Result<Vec<_>>>()?;
        ProviderSettings::check_all(&providers)?;
        Ok(providers)
    }
}

/// Reads an issuer that could be one.
fn parse_issuer(text: &str) -> std::result::Result<String, String> {
    match ProviderSettings::new(text, "any", None, None) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.message),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::{Arguments, Command};

    fn options(line: &[&str]) -> SignOnOptions {
        let line = [&["pilvi", "serve"], line].concat();
        match Arguments::try_parse_from(line).unwrap().command {
            Command::Serve(options) => options.sign_on,
            _ => panic!("not serve"),
        }
    }

    #[test]
    fn options_in_the_same_order_make_one_provider() {
        let options = options(&[
            "--oidc-issuer=https://a.example.org,https://b.example.org/x",
            "--oidc-client-id=one",
            "--oidc-client-id=two",
            "--oidc-client-secret=hunter2 hunter3,+",
            "--oidc-name=Alpha,Beta Inc.",
        ]);
        assert!(!format!("{options:?}").contains("hunter"));
        let paths: Vec<_> = options.providers().unwrap();
        let paths: Vec<_> = paths.iter().map(ProviderSettings::callback_path).collect();
        assert_eq!(
            paths,
            [
                "/console/oidc/alpha/callback",
                "/console/oidc/beta-inc/callback"
            ]
        );
    }

    #[test]
    fn what_does_not_fit_together_is_said() {
        const ISSUER: &str = "--oidc-issuer=https://a.example.org";
        for (line, field) in [
            (&[ISSUER][..], "oidc-client-id"),
            (&["--oidc-client-id=a"], "oidc-client-id"),
            (&[ISSUER, "--oidc-client-id=a,b"], "oidc-client-id"),
            (
                &[ISSUER, "--oidc-client-id=a", "--oidc-client-secret=a b"],
                "oidc-client-secret",
            ),
            (
                &[ISSUER, "--oidc-client-id=a", "--oidc-name=a,b"],
                "oidc-name",
            ),
            (&[ISSUER, ISSUER, "--oidc-client-id=a,b"], "oidc-name"),
        ] {
            let error = options(line).providers().unwrap_err();
            assert_eq!(error.fields[0].property, field, "{line:?}");
        }
        assert!(options(&[]).providers().unwrap().is_empty());
        let plain = ["pilvi", "serve", "--oidc-issuer=http://a.example.org"];
        assert!(Arguments::try_parse_from(plain).is_err());
    }
}
