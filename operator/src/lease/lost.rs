//! Why a replica leads no more.

use std::fmt;

use super::RENEW_DEADLINE;

/// Why a replica leads no more, in words for whoever reads its last line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// It could not be renewed in time. Nobody else need have it.
    NotRenewed {
        /// What stood in the way.
        cause: String,
    },
    /// Another replica has it.
    Taken {
        /// The other one.
        holder: String,
    },
    /// It has been deleted while this replica was stopping.
    Gone,
}

impl fmt::Display for Lost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRenewed { cause } => {
                write!(formatter, "the lease could not be renewed for {} s: {cause}", RENEW_DEADLINE.as_secs())
            }
            Self::Taken { holder } => write!(formatter, "another replica has taken the lease (holder `{holder}`)"),
            Self::Gone => formatter.write_str("the lease has been deleted during the stop"),
        }
    }
}
