//! Personal data: what has a form that can be told from other text.

mod address;
mod context;
mod iban;
mod number;

use super::glyph::in_word;
use super::scan::{Ahead, Finding, More, Scanner, Verdict};

/// A sort of personal data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entity {
    /// A mail address.
    Email,
    /// A telephone number: international, or in a national form, or after a word that announces one.
    Phone,
    /// A United States social security number.
    Ssn,
    /// The number of a payment card.
    CreditCard,
    /// An international bank account number.
    Iban,
    /// An IPv4 or IPv6 address.
    IpAddress,
}

impl Entity {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Email, Self::Phone, Self::Ssn, Self::CreditCard, Self::Iban, Self::IpAddress];

    /// Its name in manifests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Ssn => "ssn",
            Self::CreditCard => "credit_card",
            Self::Iban => "iban",
            Self::IpAddress => "ip_address",
        }
    }

    fn finding(self) -> Finding {
        let name = self.as_str();
        Finding { replacement: format!("[REDACTED_{}]", name.to_ascii_uppercase()), what: format!("pii `{name}`") }
    }
}

/// Looks for some sorts of personal data.
#[derive(Clone, Debug)]
pub(super) struct Pii(pub(super) Vec<Entity>);

impl Pii {
    fn wants(&self, entity: Entity) -> bool {
        self.0.contains(&entity)
    }
}

impl Scanner for Pii {
    fn scan(&self, ahead: Ahead<'_>) -> Result<Verdict, More> {
        if ahead.before().is_some_and(in_word) && ahead.at(0)?.is_some_and(in_word) {
            return Ok(Verdict::Pass(1));
        }
        type Recogniser = fn(Ahead<'_>) -> Result<Option<usize>, More>;
        let recognisers: [(Entity, Recogniser); 3] =
            [(Entity::Email, address::email), (Entity::IpAddress, address::ip), (Entity::Iban, iban::at)];
        for (entity, recognise) in recognisers {
            if self.wants(entity)
                && let Some(length) = recognise(ahead)?
            {
                return Ok(Verdict::Found(length, entity.finding()));
            }
        }
        if ![Entity::Phone, Entity::Ssn, Entity::CreditCard].iter().any(|entity| self.wants(*entity)) {
            return Ok(Verdict::Pass(1));
        }
        number::at(ahead, self)
    }
}
