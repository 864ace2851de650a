//! Why an app has no process that could answer.

use crate::Code;

/// Why there is no upstream. It decides what a visitor is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Absence {
    /// Nothing has been deployed.
    #[default]
    NeverDeployed,
    /// No process of the type `web` is wanted, or the app has no such type.
    ScaledToZero,
    /// The app was stopped by its owner.
    Stopped,
    /// Processes are being started. A request waits for them for a while.
    Starting,
    /// The processes do not stay alive.
    Crashed,
}

impl Absence {
    pub(crate) fn code(self) -> Code {
        match self {
            Self::NeverDeployed | Self::ScaledToZero | Self::Stopped => Code::H14,
            Self::Starting => Code::H20,
            Self::Crashed => Code::H10,
        }
    }

    /// For the visitor.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::NeverDeployed => {
                "Nothing has been deployed to this app yet. Its address answers once something has been pushed to it."
            }
            Self::ScaledToZero => {
                "This app has no web process at the moment. Its owner can start one by scaling `web` to 1."
            }
            Self::Stopped => "This app has been stopped by its owner.",
            Self::Starting => {
                "This app is starting, and takes longer than a request can wait. Try again in a moment."
            }
            Self::Crashed => {
                "This app has crashed. It is started again from time to time; its owner finds the reason in its log."
            }
        }
    }
}
