//! How a budget stands.

use super::{Amount, Maximums, Window};

/// From this share of a maximum on, a budget is near its end, in percent.
const NEAR_PERCENT: u64 = 80;

/// How a budget stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetReport {
    /// What was used in the window.
    pub spent: Amount,
    /// The window.
    pub window: Window,
    /// What may be used in it.
    pub maximums: Maximums,
}

/// The same in a word, the worse of the two maximums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Less than 80 % of each.
    Ok,
    /// At least 80 % of one.
    Near,
    /// All of one.
    Exceeded,
}

impl Standing {
    /// As it stands in the state of a pod.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Near => "near",
            Self::Exceeded => "exceeded",
        }
    }
}

impl BudgetReport {
    /// What was used and what may be, by the name of the resource.
    pub fn resources(&self) -> impl Iterator<Item = (&'static str, u64, u64)> {
        let tokens = self.maximums.tokens.map(|maximum| ("tokens", self.spent.tokens, maximum));
        let cost = self.maximums.nanodollars.map(|maximum| ("cost", self.spent.nanodollars, maximum));
        tokens.into_iter().chain(cost)
    }

    /// In a word.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let standing = |(_, spent, maximum): (&str, u64, u64)| {
            if spent >= maximum {
                Standing::Exceeded
            } else if u128::from(spent) * 100 >= u128::from(maximum) * u128::from(NEAR_PERCENT) {
                Standing::Near
            } else {
                Standing::Ok
            }
        };
        self.resources().map(standing).max().unwrap_or(Standing::Ok)
    }
}
