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

    fn bit(self) -> u8 {
        match self {
            Self::Email => 1,
            Self::Phone => 2,
            Self::Ssn => 4,
            Self::CreditCard => 8,
            Self::Iban => 16,
            Self::IpAddress => 32,
        }
    }

    /// Whether it is found in a run of groups of digits.
    fn is_number(self) -> bool {
        matches!(self, Self::Phone | Self::Ssn | Self::CreditCard)
    }

    fn finding(self) -> Finding {
        let name = self.as_str();
        Finding { replacement: format!("[REDACTED_{}]", name.to_ascii_uppercase()), what: format!("pii `{name}`") }
    }
}

/// Looks for some sorts of personal data.
#[derive(Clone, Debug)]
pub(super) struct Pii {
    /// A bit for each sort.
    wanted: u8,
}

impl Pii {
    /// The fewest characters of anything that is looked for: `::1`.
    pub(super) const SHORTEST: usize = 3;

    /// For these sorts.
    pub(super) fn of(entities: &[Entity]) -> Self {
        Self { wanted: entities.iter().fold(0, |wanted, entity| wanted | entity.bit()) }
    }

    fn wants(&self, entity: Entity) -> bool {
        self.wanted & entity.bit() != 0
    }

    /// What begins at the place, also in the middle of a word; numbers only where they are asked for.
    fn recognise(&self, ahead: Ahead<'_>, numbers: bool) -> Result<Recognised, More> {
        type Recogniser = fn(Ahead<'_>) -> Result<Option<usize>, More>;
        let recognisers: [(Entity, Recogniser); 3] =
            [(Entity::Email, address::email), (Entity::IpAddress, address::ip), (Entity::Iban, iban::at)];
        for (entity, recognise) in recognisers {
            if self.wants(entity)
                && let Some(length) = recognise(ahead)?
            {
                return Ok(Recognised::Value(length, entity));
            }
        }
        if !numbers || !Entity::ALL.iter().any(|entity| entity.is_number() && self.wants(*entity)) {
            return Ok(Recognised::Nothing(1));
        }
        number::at(ahead, self)
    }

    /// Where the value of this length ends with all that begins within it and goes on behind it: of values that
    /// overlap, no rest may stay.
    fn union(&self, ahead: Ahead<'_>, length: usize, entity: Entity) -> Result<usize, More> {
        let (mut end, mut start) = (length, 1);
        // A space is a border.
        while start < end && ahead.at(end)?.is_some_and(|reads| reads != ' ') {
            // Numbers that overlap in one run of groups are told apart where the run is read.
            if let Recognised::Value(more, _) = self.recognise(ahead.skip(start), !entity.is_number())? {
                end = end.max(start + more);
            }
            start += 1;
        }
        Ok(end)
    }
}

/// What a recogniser says of a place.
enum Recognised {
    /// Nothing begins here; so many glyphs, at least one, are settled.
    Nothing(usize),
    /// So many glyphs are a value of this sort.
    Value(usize, Entity),
}

impl Scanner for Pii {
    fn goes_back(&self) -> bool {
        true
    }

    fn scan(&self, ahead: Ahead<'_>) -> Result<Verdict, More> {
        if ahead.before().is_some_and(in_word) && ahead.at(0)?.is_some_and(in_word) {
            return Ok(Verdict::Pass(1));
        }
        Ok(match self.recognise(ahead, true)? {
            Recognised::Nothing(length) => Verdict::Pass(length),
            Recognised::Value(length, entity) => Verdict::Found(self.union(ahead, length, entity)?, entity.finding()),
        })
    }
}
