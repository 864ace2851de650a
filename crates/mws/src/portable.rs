//! What of a gateway is sealed, for whoever exchanges the keys of a server.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pilvi_base::Keyring;
use pilvi_core::portable::Unopened;
use pilvi_model::GatewayId;
use serde_json::{Map, Value};

use crate::events::secret::{context, unarmoured};
use crate::settings::events::EVENTS_SECRET as SECRET;

/// The key under which the configuration of a gateway keeps it.
pub const EVENTS_SECRET: &str = SECRET;

/// What became of a gateway's sealed secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resealed {
    /// It is sealed with the newest key already, or there is none.
    Same,
    /// It was sealed anew.
    Changed,
    /// No key opens it. It is still there when it is to be kept.
    Unopened,
}

/// Seals anew what a gateway's configuration keeps sealed.
pub fn reseal(
    keyring: &Keyring,
    gateway: GatewayId,
    config: &mut Map<String, Value>,
    unopened: Unopened,
) -> Resealed {
    let Some(kept) = config.get(EVENTS_SECRET) else {
        return Resealed::Same;
    };
    let context = context(gateway);
    let resealed = unarmoured(kept).map(|sealed| keyring.reseal(&context, &context, &sealed));
    match resealed {
        Some(Ok(None)) => Resealed::Same,
        Some(Ok(Some(sealed))) => {
            config.insert(EVENTS_SECRET.to_owned(), STANDARD.encode(sealed).into());
            Resealed::Changed
        }
        Some(Err(_)) | None => {
            if unopened == Unopened::Remove {
                config.remove(EVENTS_SECRET);
            }
            Resealed::Unopened
        }
    }
}

#[cfg(test)]
mod tests {
    use pilvi_core::signing::Signing;

    use super::*;

    #[test]
    fn a_secret_is_sealed_anew_for_its_own_gateway() {
        let [own, other] = [1, 2].map(|byte| GatewayId::from_bytes([byte; 12]));
        let key = Keyring::from_bytes([7; 32]);
        let sealed = Signing::fresh().seal(&key, &context(own));
        let mut config = Map::from_iter([
            (EVENTS_SECRET.to_owned(), STANDARD.encode(&sealed).into()),
            ("compression".to_owned(), true.into()),
        ]);
        let before = config.clone();
        assert_eq!(
            reseal(&key, own, &mut config, Unopened::Remove),
            Resealed::Same
        );
        assert_eq!(
            reseal(&key, other, &mut config, Unopened::Keep),
            Resealed::Unopened
        );
        assert_eq!(config, before);

        let stranger = Keyring::from_bytes([8; 32]);
        assert_eq!(
            reseal(&stranger, own, &mut config, Unopened::Remove),
            Resealed::Unopened
        );
        assert_eq!(
            config,
            Map::from_iter([("compression".to_owned(), true.into())])
        );
        assert_eq!(
            reseal(&stranger, own, &mut config, Unopened::Keep),
            Resealed::Same
        );
    }
}
